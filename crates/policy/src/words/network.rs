//! Destinations and published ports of `[network]`.

use std::net::{IpAddr, Ipv6Addr};

use super::WordError;

/// `DESTINATION:PORTS[/tcp|udp]`: the destination is a name, `*.NAME`, an address, a network (`10.0.0.0/8`), or `*`; IPv6
/// stands in brackets. The ports are one, a range (`8000-8080`), or `*`.
pub fn egress(word: &str) -> Result<(), WordError> {
    let bad = |why: &str| {
        format!(
            "{word:?}: {why}; write for instance example.org:443, 10.0.0.0/8:5432 or [2001:db8::]/32:53/udp"
        )
    };
    let (to, ports) = word.rsplit_once(':').ok_or_else(|| bad("no ports"))?;
    let ports = protocol(ports).ok_or_else(|| bad("a protocol is tcp or udp"))?;
    if ports != "*" {
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (port(first), port(last));
        if first.is_none() || last.is_none() || first > last {
            return Err(bad("ports are 1 to 65535, a range of them, or *"));
        }
    }
    match destination(to) {
        true => Ok(()),
        false => Err(bad("the destination is no name, address or network")),
    }
}

/// `[ADDRESS:]PORT:PORT[/tcp|udp]`: the port outside, the port inside.
pub fn publish(word: &str) -> Result<(), WordError> {
    let bad = || format!("{word:?}: write [ADDRESS:]PORT:PORT[/tcp|udp], for instance 127.0.0.1:8080:80");
    let rest = protocol(word).ok_or_else(bad)?;
    let (outside, inside) = rest.rsplit_once(':').ok_or_else(bad)?;
    let (address, outside) = match outside.rsplit_once(':') {
        Some((address, outside)) => (Some(address), outside),
        None => (None, outside),
    };
    let address_ok =
        address.is_none_or(|address| match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
            Some(six) => six.parse::<Ipv6Addr>().is_ok(),
            None => address.parse::<std::net::Ipv4Addr>().is_ok(),
        });
    if address_ok && port(outside).is_some() && port(inside).is_some() { Ok(()) } else { Err(bad()) }
}

/// What stands before `/tcp` or `/udp`.
fn protocol(word: &str) -> Option<&str> {
    match word.rsplit_once('/') {
        None => Some(word),
        Some((before, "tcp" | "udp")) => Some(before),
        Some(_) => None,
    }
}

fn port(word: &str) -> Option<u16> {
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|port| digits && *port > 0)
}

fn destination(word: &str) -> bool {
    if word == "*" {
        return true;
    }
    let (address, bits) = match word.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (word, None),
    };
    let address = match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
        Some(six) => six.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => address.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    };
    match (address, bits) {
        (Some(_), None) => true,
        (Some(address), Some(bits)) => {
            let most = if address.is_ipv4() { 32 } else { 128 };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }
        (None, Some(_)) => false,
        (None, None) => {
            let name = word.strip_prefix("*.").unwrap_or(word);
            let part = |p: &str| {
                !p.is_empty() && p.len() <= 63 && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            name.len() <= 253 && name.split('.').all(part) && name.bytes().any(|b| b.is_ascii_alphabetic())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_and_ports_are_read_or_refused() {
        for word in [
            "example.org:443", "*.example.org:443/tcp", "10.0.0.0/8:5432", "[2001:db8::]/32:53/udp",
            "*:53/udp", "192.0.2.1:8000-8080", "[::1]:*",
        ] {
            assert_eq!(egress(word), Ok(()), "{word}");
        }
        for word in [
            "", "example.org", "example.org:", "example.org:0", "example.org:70000", "example.org:80-70",
            "example.org:80/sctp", "10.0.0.0/33:1", "10.0.0:1", "2001:db8::1:443", "a b:1", "-:+1", "*.*:1",
            ":1",
        ] {
            assert!(egress(word).is_err(), "{word}");
        }
        for word in ["8080:80", "127.0.0.1:8443:443/tcp", "[::1]:53:53/udp"] {
            assert_eq!(publish(word), Ok(()), "{word}");
        }
        for word in ["", "80", "80:", "x:80:80", "0:80", "80:80/icmp", "1:2:3:4", "+1:80"] {
            assert!(publish(word).is_err(), "{word}");
        }
    }
}
