//! A crash report instead of a bare backtrace. Secrets never get into it: arguments after the command are left out.
use crate::env::Env;
use crate::home::{Home, create_private_dir, write_private};
use std::backtrace::Backtrace;
use std::io::Write;

/// Installs the hook. The process then ends as after any panic, with code 101.
pub(crate) fn install(env: &Env) {
    let home = Home::find(env);
    std::panic::set_hook(Box::new(move |info| {
        let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let path = home.logs().join(format!("crash-{millis}.txt"));
        let command: Vec<String> = std::env::args().skip(1).take_while(|word| !word.starts_with('-')).take(2).collect();
        let report = format!(
            "maos {} ({}) on {} {}\ncommand: maos {}\nthread: {}\n{info}\n\n{}\n",
            env!("CARGO_PKG_VERSION"),
            env!("MAOS_COMMIT"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            command.join(" "),
            std::thread::current().name().unwrap_or("unnamed"),
            Backtrace::force_capture(),
        );
        let saved = create_private_dir(&home.logs()).and_then(|_| write_private(&path, report.as_bytes()));
        let place = match saved {
            Ok(()) => format!("  report: {}", home.show(&path)),
            Err(_) => format!("  {info}"),
        };
        let text = format!(
            "error: maos has a fault and cannot go on\n{place}\n  fix: please report it with that file; your tasks are safe: maos start\n"
        );
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
        tracing::error!(target: "maos::crash", component = "system", "{info}");
    }));
}
