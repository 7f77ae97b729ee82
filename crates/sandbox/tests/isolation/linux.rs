//! The tests, and what this program is when they start it.

mod network;
mod places;
mod tools;
mod view;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use podcert_sandbox::isolation;

use self::tools::needed;

pub(crate) fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = argv.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        ["sandbox", "exec-pod", "--isolated", file, rest @ ..] => {
            let (stage, argv) = match rest {
                ["--stage", stage, "--", ..] => (*stage, &argv[7..]),
                ["--stage", stage] => (*stage, [].as_slice()),
                _ => ("namespaces", [].as_slice()),
            };
            let stage = isolation::Stage::from_name(stage).unwrap();
            return isolation::play(Path::new(file), stage, argv);
        }
        ["sandbox", "exec-pod", "--map", file, "--", _, "get", host] => {
            return tools::get(Path::new(file), host);
        }
        ["a-sandbox-to-be-killed", parent] => {
            return places::a_sandbox_to_be_killed(Path::new(parent));
        }
        ["a-refused-program"] => return places::a_refused_program(),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    if needed(&["python3", "curl", "sh"]) {
        trials = vec![
            trial(
                "pods_reach_each_other_by_names_and_addresses",
                network::reach,
            ),
            trial("a_pod_has_its_own_view_of_paths", view::paths),
            trial(
                "a_pod_has_nothing_but_what_it_was_given",
                view::nothing_else,
            ),
            trial(
                "a_program_is_asked_to_end_and_its_children_end_with_it",
                view::ending,
            ),
            trial("a_pod_is_probed_from_inside", view::probes),
            trial("a_pod_reaches_the_api_server", network::api_server),
            trial("nothing_listens_on_the_machine", network::machine),
            Trial::test("no_process_outlives_a_sandbox_that_was_killed", || {
                places::orphans();
                Ok(())
            }),
            Trial::test("where_namespaces_are_refused_so_are_programs", || {
                places::refusal();
                Ok(())
            }),
        ];
        if rustix::process::geteuid().is_root() && needed(&["setpriv"]) {
            trials.push(Trial::test(
                "it_works_for_a_user_without_privileges",
                || {
                    places::unprivileged();
                    Ok(())
                },
            ));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::from)?;
        runtime.block_on(test());
        Ok(())
    })
}
