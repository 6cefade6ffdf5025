//! `--ulimit NAME=SOFT[:HARD]`.

use oci_spec::runtime::PosixRlimitType as Type;

use super::WordError;

const NAMES: &[(&str, Type)] = &[
    ("core", Type::RlimitCore),
    ("cpu", Type::RlimitCpu),
    ("data", Type::RlimitData),
    ("fsize", Type::RlimitFsize),
    ("locks", Type::RlimitLocks),
    ("memlock", Type::RlimitMemlock),
    ("msgqueue", Type::RlimitMsgqueue),
    ("nice", Type::RlimitNice),
    ("nofile", Type::RlimitNofile),
    ("nproc", Type::RlimitNproc),
    ("rss", Type::RlimitRss),
    ("rtprio", Type::RlimitRtprio),
    ("rttime", Type::RlimitRttime),
    ("sigpending", Type::RlimitSigpending),
    ("stack", Type::RlimitStack),
    ("as", Type::RlimitAs),
];

/// The resource of a name.
pub fn resource(name: &str) -> Result<Type, WordError> {
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, t)| *t).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(n, _)| *n).collect();
        format!("{name:?} is no resource; there are {}", names.join(", "))
    })
}

/// `SOFT[:HARD]`, each a number or `-1` or `unlimited`.
pub fn values(word: &str) -> Result<(u64, u64), WordError> {
    let one = |w: &str| match w {
        "-1" | "unlimited" => Ok(u64::MAX),
        number => number.parse().map_err(|_| format!("{word:?} is no limit; write SOFT or SOFT:HARD")),
    };
    let (soft, hard) = match word.split_once(':') {
        Some((soft, hard)) => (one(soft)?, one(hard)?),
        None => (one(word)?, one(word)?),
    };
    if soft > hard {
        Err(format!("{word:?}: the soft limit is above the hard one"))
    } else {
        Ok((soft, hard))
    }
}

/// `NAME=SOFT[:HARD]` as name and value, both checked.
pub fn ulimit(word: &str) -> Result<(String, String), WordError> {
    let (name, value) =
        word.split_once('=').ok_or_else(|| format!("{word:?}: write NAME=SOFT or NAME=SOFT:HARD"))?;
    resource(name)?;
    values(value)?;
    Ok((name.to_string(), value.to_string()))
}
