//! `donjon doctor`: what this kernel, user and distribution can and can't do, one line a layer, with the fix; and a
//! container that is started and ends, as the proof.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use donjon_confine::survey::{Finding, Verdict, survey};
use donjon_confine::{Given, Host, Plan};
use donjon_runtime::Store;
use donjon_runtime::names::Id;
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::json;

use super::run::{Ranges, effective, specify};
use super::{Failure, Format};
use crate::args::{self, Invocation};

/// Prints the survey. 0 when containers start here, 1 when they don't.
pub fn run(format: Format) -> Result<u8, Failure> {
    let host = crate::filters::host();
    let mut findings = survey(&host);
    findings.push(match start(&host) {
        Ok(()) => Finding {
            layer: "a container",
            verdict: Verdict::Good,
            what: "was started behind all layers, and ended".into(),
            fix: None,
        },
        Err(failure) => Finding {
            layer: "a container",
            verdict: Verdict::Missing,
            what: failure.message,
            fix: failure.hint.or_else(|| Some("see the lines above".into())),
        },
    });
    let works = findings.iter().all(|f| f.verdict != Verdict::Missing);
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(
                &mut out,
                &json!({ "works": works, "host": host, "layers": findings }),
            )?;
            writeln!(out)?;
        }
        Format::Text => print(&mut out, &findings)?,
    }
    out.flush()?;
    Ok(if works { 0 } else { 1 })
}

fn print(out: &mut (impl Write + IsTerminal), findings: &[Finding]) -> std::io::Result<()> {
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width = findings.iter().map(|f| f.layer.len()).max().unwrap_or(0);
    for finding in findings {
        let (word, colour) = match finding.verdict {
            Verdict::Good => ("ok     ", "32"),
            Verdict::Limited => ("limited", "33"),
            Verdict::Missing => ("missing", "31"),
        };
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_string() };
        writeln!(out, "{word}  {:width$}  {}", finding.layer, finding.what)?;
        if let Some(fix) = &finding.fix {
            writeln!(out, "         {:width$}  -> {fix}", "")?;
        }
    }
    Ok(())
}

/// Starts `true` in the image `host`, as `donjon run` would, and waits for it.
fn start(host: &Host) -> Result<(), Failure> {
    let words = ["donjon", "run", "--best-effort", "landlock", "host", "true"].map(Into::into).to_vec();
    let Ok(args::CommandLine { invocation: Invocation::Run(args), .. }) = args::parse(words) else {
        return Err(Failure::new("the trial's own command line can't be read"));
    };
    let id = Id::random().map_err(|e| Failure::new(donjon_confine::error::words(e)))?;
    let spec = specify(&args, &effective(&args)?, host, &id, Store::location(), &Ranges::Example)?;
    let plan = Plan::new(&spec, host)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::new(format!("open /dev/null: {}", donjon_confine::error::words(e))))?;
    let stdio = [null.as_fd(), null.as_fd(), null.as_fd()];
    let mut confined = donjon_confine::spawn(&plan, Given { stdio: Some(stdio), ..Given::default() })?;
    let _listener = confined.started(&plan)?.listener;
    let status = waitid(WaitId::PidFd(confined.pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten();
    match status.and_then(|s| s.exit_status()) {
        Some(0) => Ok(()),
        status => Err(Failure::new(format!("`true` ended with status {status:?}"))),
    }
}
