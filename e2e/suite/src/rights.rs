//! What stops when the controller lacks a right: each (resource, verb) of `deploy/controller/rbac.yaml`
//! is taken away in turn.
//!
//! ```text
//!   rules: rbac.yaml ─▶ pairs ─▶ the roles without one ─┐
//!                         ║ the same as                 ├─▶ scene: an account, a controller, facts
//!   table: a row each ────╨───▶ what is expected ───────┘
//! ```
//!
//! Each scene has signers, an account and a controller of its own, so that many go on side by side. It
//! looks at the same facts each time, whatever is missing: a row says which of them are otherwise than
//! with all rights, and so that everything else is as ever. One scene has all rights. A right without
//! which nothing is otherwise cannot have a row, and does not belong into the role.

mod rules;
mod scene;
mod table;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, stream};

use self::rules::Roles;
use self::table::{Expected, ROWS};
use crate::harness::{CaKind, CaPool};
use crate::run::{Context, Outcome};

/// The scenes of all rights on the step's cluster.
///
/// # Errors
/// What was otherwise than the table says, or why it could not be tried.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let roles = Roles::read()?;
    let rows: BTreeSet<_> = ROWS.iter().map(table::Row::pair).collect();
    ensure!(
        rows == roles.pairs(),
        "the rows of the step are not the rights of the role: {:?}",
        rows.symmetric_difference(&roles.pairs())
            .collect::<Vec<_>>()
    );
    let pools = tokio::task::spawn_blocking(|| {
        let next = CaKind {
            key: podcert_pki::KeyType::EcdsaP384,
            intermediate: false,
        };
        anyhow::Ok([CaPool::of(CaKind::USUAL)?, CaPool::of(next)?])
    });
    let pools = pools.await??;
    let mut plays = vec![scene::Play {
        number: 0,
        roles: roles.clone(),
        row: None,
        expected: Expected::default(),
    }];
    for (number, row) in ROWS.iter().enumerate() {
        plays.push(scene::Play {
            number: number + 1,
            roles: roles.without(&row.pair()),
            row: Some(row),
            expected: row.expected(context.release),
        });
    }
    // The long ones first.
    plays.sort_by_key(|play| !play.expected.takes_long());
    let all = plays.len();
    let mut done = 0;
    let mut wrong = Vec::new();
    let (context, pools) = (&context, &pools);
    let mut scenes = stream::iter(plays)
        .map(|play| async move {
            let name = play.name();
            let played = scene::play(context, pools, play).await;
            played.map_err(|error| format!("{name}: {error:#}"))
        })
        .buffer_unordered(AT_ONCE);
    while let Some(played) = scenes.next().await {
        wrong.extend(played.err());
        done += 1;
        let failed = wrong.len();
        context
            .progress
            .detail(format!("{done} of {all} done, {failed} failed"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(Outcome::of(format!(
        "{} rights taken away in turn",
        ROWS.len()
    )))
}

/// Scenes side by side. They wait most of the time.
const AT_ONCE: usize = 14;
