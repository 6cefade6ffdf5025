use donjon_confine::*;
use std::os::fd::AsFd;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let n: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut spec: Spec = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let _ = &mut spec;
    let host = Host { uid, gid, kernel: (6, 18), landlock_abi: donjon_sys::landlock::abi() };
    let mut times = vec![];
    for i in 0..n {
        let t = std::time::Instant::now();
        let plan = Plan::new(&spec, &host).unwrap_or_else(|e| { eprintln!("{e}"); std::process::exit(125) });
        if std::env::var("PLAN").is_ok() { print!("{}", plan.to_text()); return; }
        let tp = t.elapsed();
        let si = std::io::stdin(); let so = std::io::stdout(); let se = std::io::stderr();
        let mut c = match spawn(&plan, Some([si.as_fd(), so.as_fd(), se.as_fd()]), None, None) {
            Ok(c) => c,
            Err(e) => { eprintln!("{e} / {:?}", e.hint); std::process::exit(e.exit_code() as i32) }
        };
        let ts = t.elapsed();
        if let Err(e) = c.started(&plan) { eprintln!("{e} / {:?}", e.hint); std::process::exit(e.exit_code() as i32) }
        let tx = t.elapsed();
        let st = rustix::process::waitid(rustix::process::WaitId::PidFd(c.pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED);
        let te = t.elapsed();
        times.push((te, tp, ts, tx));
        if i + 1 == n { eprintln!("status {:?}", st.unwrap().map(|s| (s.exit_status(), s.terminating_signal()))); }
    }
    times.sort();
    eprintln!("median total/plan/spawn/started {:?}", times[times.len() / 2]);
}
