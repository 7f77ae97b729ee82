//! The drawing: from what there is to see, and the size of the terminal, to its cells.
//!
//! Colours are the terminal's own sixteen and never the only sign of anything, so that light, dark and
//! colourless terminals all read well. Texts that pods wrote come in through [`printable`].

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use crate::commands::demo::board::{Bundle, Certificate, Client, Life, Pod, View};
use crate::commands::demo::story::printable;

/// Draws everything there is room for: pods first, then who talks to whom, bundles, and the last events.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, now: Timestamp, elapsed: Duration) {
    let pods = pod_rows(view, now, frame.area().width);
    let clients = client_rows(view, frame.area().width);
    let bundles = bundle_lines(view, frame.area().width);
    let height = |rows: usize| Constraint::Length(u16::try_from(rows + 1).unwrap_or(u16::MAX));
    let [head, pods_area, clients_area, bundles_area, events_area] = Layout::vertical([
        Constraint::Length(1),
        height(pods.len()),
        height(clients.len()),
        height(bundles.len()),
        Constraint::Min(3),
    ])
    .areas(frame.area());

    frame.render_widget(head_line(view, elapsed, head.width), head);
    let wide = frame.area().width >= WIDE;
    let mut columns = vec![
        Constraint::Length(if wide { 52 } else { NARROW_NAME }),
        Constraint::Length(9),
        Constraint::Length(if wide { 32 } else { 12 }),
        Constraint::Length(if wide { 36 } else { 34 }),
    ];
    if wide {
        columns.push(Constraint::Min(60));
    }
    let table = Table::new(pods, columns).column_spacing(1);
    frame.render_widget(
        table.block(section(
            "pods and their certificates",
            "bar: age, ┃ refresh begins",
        )),
        pods_area,
    );
    let columns = [
        Constraint::Length(if wide { 52 } else { NARROW_NAME }),
        Constraint::Length(if wide { 70 } else { 36 }),
        Constraint::Min(16),
    ];
    let table = Table::new(clients, columns).column_spacing(1);
    frame.render_widget(
        table.block(section("who talks to whom", "handshakes")),
        clients_area,
    );
    frame.render_widget(
        Paragraph::new(bundles).block(section("trust bundles", "what clients trust")),
        bundles_area,
    );
    let room = usize::from(events_area.height.saturating_sub(1));
    frame.render_widget(
        Paragraph::new(event_lines(view, room, frame.area().width)).block(section("events", "")),
        events_area,
    );
}

fn head_line(view: &View, elapsed: Duration, width: u16) -> Line<'_> {
    let right = format!("{:5.1} s   q ends it", elapsed.as_secs_f64());
    let left = format!("podcert demo   {}", view.act);
    let gap = usize::from(width).saturating_sub(left.chars().count() + right.chars().count());
    Line::from(vec![
        Span::from("podcert demo").bold(),
        Span::from(format!("   {}", view.act)).cyan(),
        Span::from(" ".repeat(gap)),
        Span::from(right).dim(),
    ])
}

fn section<'a>(title: &'a str, hint: &'a str) -> Block<'a> {
    let mut block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().dim())
        .title_top(Line::from(format!(" {title} ")).bold());
    if !hint.is_empty() {
        block = block.title_top(Line::from(format!(" {hint} ")).dim().right_aligned());
    }
    block
}

/// One row per certificate, and one for each pod that has none.
fn pod_rows<'a>(view: &'a View, now: Timestamp, width: u16) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for ((namespace, name), pod) in &view.pods {
        let mut certificates = view
            .certificates
            .iter()
            .filter(|((of, owner, _), _)| of == namespace && owner == name)
            .peekable();
        if certificates.peek().is_none() {
            let cells = vec![
                name_cell(namespace, name, width),
                state_cell(pod),
                Cell::from(""),
                Cell::from("trusts, shows no certificate").style(Modifier::DIM),
            ];
            rows.push(Row::new(cells));
        }
        for (number, ((_, _, signer), certificate)) in certificates.enumerate() {
            let first = match number {
                0 => [name_cell(namespace, name, width), state_cell(pod)],
                _ => [Cell::from(""), Cell::from("")],
            };
            let bar = if width >= WIDE { 32 } else { 12 };
            let mut cells = Vec::from(first);
            cells.push(Cell::from(life_bar(&certificate.life, now, bar)));
            cells.push(Cell::from(life_words(signer, certificate, now)));
            if width >= WIDE
                && let Life::Issued { names, .. } = &certificate.life
            {
                cells.push(Cell::from(printable(&names.join(" "))).style(Modifier::DIM));
            }
            rows.push(Row::new(cells));
        }
    }
    rows
}

fn name_cell<'a>(namespace: &str, name: &str, width: u16) -> Cell<'a> {
    // The end tells the pods of a Deployment apart.
    let text = if width >= WIDE {
        shorten(&format!("{namespace}/{name}"), 52)
    } else {
        shorten(name, usize::from(NARROW_NAME))
    };
    Cell::from(text)
}

fn state_cell(pod: &Pod) -> Cell<'_> {
    let text = if pod.restarts > 0 {
        format!("{}×{}", pod.phase, pod.restarts)
    } else {
        pod.phase.clone()
    };
    let style = match (pod.ready, pod.restarts) {
        (true, 0) => Style::new().green(),
        (true, _) => Style::new().yellow(),
        (false, _) => Style::new().yellow().bold(),
    };
    Cell::from(text).style(style)
}

/// The certificate's life as a bar: what is over is full, and a mark says where its refresh begins.
fn life_bar(life: &Life, now: Timestamp, width: usize) -> Line<'static> {
    let Life::Issued {
        not_before,
        refresh,
        not_after,
        ..
    } = life
    else {
        return match life {
            Life::Refused(_) => Line::from("×".repeat(width)).red(),
            _ => Line::from("·".repeat(width)).yellow(),
        };
    };
    let whole = not_after.duration_since(*not_before).as_secs_f64().max(1.0);
    let cell = |at: &Timestamp| {
        let share = at.duration_since(*not_before).as_secs_f64() / whole;
        // Cut to the bar, so the cast loses nothing.
        (share.clamp(0.0, 1.0) * width as f64) as usize
    };
    let (full, mark) = (cell(&now), cell(refresh).min(width.saturating_sub(1)));
    let spans = (0..width).map(|at| {
        let due = now >= *refresh;
        if at == mark {
            Span::from("┃").bold()
        } else if at < full {
            let done = Span::from("█");
            if due { done.yellow() } else { done.green() }
        } else {
            Span::from("░").dim()
        }
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn life_words<'a>(signer: &str, certificate: &Certificate, now: Timestamp) -> Line<'a> {
    let signer = signer.rsplit('/').next().unwrap_or(signer).to_owned();
    let again = match certificate.requests {
        0 | 1 => String::new(),
        count => format!(" #{count}"),
    };
    match &certificate.life {
        Life::Waiting { since } => {
            Line::from(format!("{signer} asked {} ago{again}", span(*since, now))).yellow()
        }
        Life::Refused(why) => Line::from(format!("{signer} REFUSED {}", printable(why)))
            .red()
            .bold(),
        Life::Issued { refresh, .. } if now >= *refresh => {
            Line::from(format!("{signer} refresh is due{again}")).yellow()
        }
        Life::Issued { refresh, .. } => Line::from(vec![
            Span::from(format!("{signer} ")),
            Span::from(format!("refresh {}", span(now, *refresh))).dim(),
            Span::from(again),
        ]),
    }
}

fn client_rows(view: &View, width: u16) -> Vec<Row<'_>> {
    let row = |((namespace, name), client): (&'_ (String, String), &'_ Client)| {
        let room = if width >= WIDE { 66 } else { 32 };
        let server = client.server.first().map_or_else(
            || "nobody yet".to_owned(),
            |name| shorten_end(&printable(name), room),
        );
        let failed = match client.failed {
            0 => Span::from("  0 failed").dim(),
            count => Span::from(format!("  {count} FAILED")).red().bold(),
        };
        let arrow = if client.ok > 0 {
            "──▶ "
        } else {
            "··▷ "
        };
        Row::new(vec![
            name_cell(namespace, name, width),
            Cell::from(format!("{arrow}{server}")),
            Cell::from(Line::from(vec![
                Span::from(format!("{:4}", client.ok)).green(),
                failed,
            ])),
        ])
    };
    view.clients.iter().map(row).collect()
}

fn bundle_lines(view: &View, width: u16) -> Vec<Line<'_>> {
    let line = |(name, bundle): (&'_ String, &'_ Bundle)| {
        let signer = bundle.signer.rsplit('/').next().unwrap_or(&bundle.signer);
        let anchors = match bundle.anchors.len() {
            1 => "1 anchor".to_owned(),
            count => format!("{count} anchors"),
        };
        let subjects = printable(&bundle.anchors.join("; "));
        let mut spans = vec![
            Span::from(format!("{signer:<13}")),
            Span::from(format!("{:<7}", bundle.stage)).cyan(),
            Span::from(format!("{anchors:<11}")),
        ];
        if width >= WIDE {
            spans.push(Span::from(format!("{name}  ")).dim());
        }
        spans.push(Span::from(subjects).dim());
        Line::from(spans)
    };
    view.bundles.iter().map(line).collect()
}

fn event_lines(view: &View, room: usize, width: u16) -> Vec<Line<'_>> {
    let skipped = view.events.len().saturating_sub(room);
    let namespaces: BTreeSet<&str> = view
        .pods
        .keys()
        .map(|(namespace, _)| namespace.as_str())
        .collect();
    let what = |text: &str| {
        let text = printable(text);
        if width >= WIDE {
            return text;
        }
        // The pods' names are enough where there is little room. A namespace within a word, such as in
        // a SPIFFE ID, stays: without it the ID would be another's.
        let words = text.split(' ').map(|word| {
            let bare = word
                .split_once('/')
                .filter(|(namespace, _)| namespaces.contains(*namespace));
            bare.map_or(word, |(_, name)| name)
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let line = |event: &'_ crate::commands::demo::board::Event| {
        let who = Span::from(format!("{:<11} ", event.who));
        Line::from(vec![
            Span::from(format!("{:5.1}s  ", event.at.as_secs_f64())).dim(),
            match event.who.as_str() {
                "FAILED" | "refused" | "PROBLEM" => who.red().bold(),
                "issued" => who.green(),
                "kubelet" | "act" => who.cyan(),
                _ => who,
            },
            Span::from(what(&event.what)),
        ])
    };
    view.events.iter().skip(skipped).map(line).collect()
}

/// How far apart two dates are, in its two largest units.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// The text's beginning and end with an ellipsis between, in at most `room` characters.
fn shorten(text: &str, room: usize) -> String {
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let tail = (room / 2).min(12);
    let head: String = text.chars().take(room.saturating_sub(tail + 1)).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{head}…{end}")
}

/// The text's beginning in at most `room` characters.
fn shorten_end(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let head: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{head}…")
}

const NARROW_NAME: u16 = 25;
/// From this width on there is room for namespaces and names.
const WIDE: u16 = 150;

#[cfg(test)]
mod tests;
