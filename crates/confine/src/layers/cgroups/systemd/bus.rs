//! One connection to a bus, one call after the other (the D-Bus specification, `dbus.freedesktop.org`).
//!
//! The wire format is the crate zbus's; a connection of its own would bring a runtime with threads, and a start has one
//! thread. A call blocks until its answer or the deadline.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{Endian, to_bytes};
use zbus::{Signature, Type, Variant};

/// How long all of one conversation may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer of systemd's to donjon is near that size.
const LARGEST: usize = 1 << 20;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no bus, or it does not answer.
    Bus(String),
    /// The other side refused: the error's name and its words.
    Refused(String, String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Bus(what) => f.write_str(what),
            Fault::Refused(name, what) => write!(f, "{what} ({name})"),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                Fault::Bus(format!("no answer in {} seconds", PATIENCE.as_secs()))
            }
            _ => Fault::Bus(error.to_string()),
        }
    }
}

impl From<zbus::Error> for Fault {
    fn from(error: zbus::Error) -> Self {
        Fault::Bus(format!("an answer that can't be read: {error}"))
    }
}

/// Fields of a message's header.
mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SIGNATURE: u8 = 8;
}

/// A variant that holds a string type; of several values a signature is written without the parentheses that zbus puts
/// around them.
struct Text<'a>(&'static str, &'a str);

impl Type for Text<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = match self.0 {
            "o" => &Signature::ObjectPath,
            "g" => &Signature::Signature,
            _ => &Signature::Str,
        };
        let mut variant = serializer.serialize_struct("Variant", 2)?;
        variant.serialize_field("signature", kind)?;
        variant.serialize_field("value", self.1)?;
        variant.end()
    }
}

/// The fixed part of a header and its fields.
type Header<F> = (u8, u8, u8, u8, u32, u32, Vec<(u8, F)>);

/// A message that came.
#[derive(Debug)]
pub(super) struct Message {
    kind: u8,
    reply_to: Option<u32>,
    error: String,
    /// Of a signal: its name.
    pub(super) member: String,
    body: Data<'static, 'static>,
}

impl Message {
    /// Reads its values.
    pub(super) fn body<'a, T: Deserialize<'a> + Type>(&'a self) -> Result<T, Fault> {
        Ok(self.body.deserialize::<T>()?.0)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    until: Instant,
    /// Signals that came while something else was waited for.
    signals: Vec<Message>,
    /// systemd itself is at the other end, and no bus between.
    pub(super) direct: bool,
}

/// An address of a bus that can be connected to: of those in the text, the first of a socket.
pub(super) fn parse_address(text: &str) -> Option<SocketAddr> {
    text.split(';').find_map(|address| {
        let options = address.strip_prefix("unix:")?;
        options.split(',').find_map(|option| match option.split_once('=')? {
            ("path", path) => SocketAddr::from_pathname(unescape(path)?).ok(),
            ("abstract", name) => SocketAddr::from_abstract_name(unescape(name)?).ok(),
            _ => None,
        })
    })
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                u8::try_from(value).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl Bus {
    /// Connects to the system's bus, or without one to systemd itself.
    pub(super) fn system() -> Result<Self, Fault> {
        let at = |path: &str| SocketAddr::from_pathname(path).map_err(Fault::from);
        match Self::connect(&at("/run/dbus/system_bus_socket")?, false) {
            Err(fault) => Self::connect(&at("/run/systemd/private")?, true).map_err(|_| fault),
            connected => connected,
        }
    }

    /// Connects to the bus of the caller's session.
    pub(super) fn user() -> Result<Self, Fault> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let address = match variable("DBUS_SESSION_BUS_ADDRESS") {
            Some(text) => parse_address(&text),
            None => variable("XDG_RUNTIME_DIR")
                .and_then(|dir| SocketAddr::from_pathname(PathBuf::from(dir).join("bus")).ok()),
        };
        let address = address.ok_or_else(|| {
            Fault::Bus("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names a bus".into())
        })?;
        Self::connect(&address, false)
    }

    fn connect(address: &SocketAddr, direct: bool) -> Result<Self, Fault> {
        let until = Instant::now() + PATIENCE;
        let stream = UnixStream::connect_addr(address)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream, serial: 0, until, signals: Vec::new(), direct };
        bus.authenticate()?;
        if !direct {
            bus.call::<_>(&Call::of_bus("Hello"), &())?;
        }
        Ok(bus)
    }

    /// EXTERNAL without a name: the other side takes who the socket says the caller is, in a user namespace as well.
    fn authenticate(&mut self) -> Result<(), Fault> {
        self.stream.write_all(b"\0AUTH EXTERNAL\r\n")?;
        let mut line = self.line()?;
        if line == "DATA" {
            self.stream.write_all(b"DATA\r\n")?;
            line = self.line()?;
        }
        if !line.starts_with("OK ") {
            return Err(Fault::Bus(format!("the bus does not accept the caller: {line}")));
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        let mut byte = [0u8];
        while !line.ends_with(b"\r\n") {
            if line.len() > 512 {
                return Err(Fault::Bus("the bus speaks no D-Bus".into()));
            }
            self.fill(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_string())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        let left = self.until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        Ok(self.stream.read_exact(buffer)?)
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call<T: Serialize + Type>(&mut self, call: &Call<'_>, body: &T) -> Result<Message, Fault> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&call.message(serial, self.direct, body)?)?;
        loop {
            let message = self.receive()?;
            match message.kind {
                2 if message.reply_to == Some(serial) => return Ok(message),
                3 if message.reply_to == Some(serial) => {
                    let words = message.body::<&str>().unwrap_or_default().to_string();
                    return Err(Fault::Refused(message.error, words));
                }
                4 => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// The next signal.
    pub(super) fn signal(&mut self) -> Result<Message, Fault> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive()?;
            if message.kind == 4 {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> Result<Message, Fault> {
        let mut start = [0u8; 16];
        self.fill(&mut start)?;
        let endian = if start[0] == b'B' { Endian::Big } else { Endian::Little };
        let word = |at: usize| {
            let bytes = [start[at], start[at + 1], start[at + 2], start[at + 3]];
            let n = if start[0] == b'B' { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
            usize::try_from(n).unwrap_or(usize::MAX)
        };
        let (body, fields) = (word(4), word(12));
        if body > LARGEST || fields > LARGEST {
            return Err(Fault::Bus("an answer that is too large".into()));
        }
        let mut header = start.to_vec();
        header.resize((16 + fields).next_multiple_of(8), 0);
        self.fill(&mut header[16..])?;
        let mut values = vec![0; body];
        self.fill(&mut values)?;
        let context = Context::new(endian, 0);
        let header = Data::new(header, context);
        let (_, kind, _, _, _, _, fields) = header.deserialize::<Header<Variant<'_>>>()?.0;
        let mut message = Message {
            kind,
            reply_to: None,
            error: String::new(),
            member: String::new(),
            body: Data::new(values, context),
        };
        for (code, value) in fields {
            match (code, value) {
                (field::REPLY_SERIAL, Variant::U32(serial)) => message.reply_to = Some(serial),
                (field::ERROR_NAME, Variant::Str(name)) => message.error = name.to_string(),
                (field::MEMBER, Variant::Str(name)) => message.member = name.to_string(),
                _ => {}
            }
        }
        Ok(message)
    }
}

/// A method of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
}

impl<'a> Call<'a> {
    /// A method of the bus itself.
    pub(super) fn of_bus(member: &'a str) -> Self {
        let name = "org.freedesktop.DBus";
        Self { destination: name, path: "/org/freedesktop/DBus", interface: name, member }
    }

    fn message<T: Serialize + Type>(&self, serial: u32, direct: bool, body: &T) -> Result<Vec<u8>, Fault> {
        let endian = if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little };
        let context = Context::new(endian, 0);
        let signature = T::SIGNATURE.to_string_no_parens();
        let values = if signature.is_empty() { Vec::new() } else { to_bytes(context, body)?.to_vec() };
        let mut fields = vec![
            (field::PATH, Text("o", self.path)),
            (field::INTERFACE, Text("s", self.interface)),
            (field::MEMBER, Text("s", self.member)),
        ];
        if !direct {
            fields.push((field::DESTINATION, Text("s", self.destination)));
        }
        if !signature.is_empty() {
            fields.push((field::SIGNATURE, Text("g", &signature)));
        }
        let length =
            u32::try_from(values.len()).map_err(|_| Fault::Bus("a call that is too large".into()))?;
        let mark = if cfg!(target_endian = "big") { b'B' } else { b'l' };
        let header: Header<Text<'_>> = (mark, 1, 0, 1, length, serial, fields);
        let mut message = to_bytes(context, &header)?.to_vec();
        message.resize(message.len().next_multiple_of(8), 0);
        message.extend(values);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        let path =
            |text: &str| parse_address(text).and_then(|a| a.as_pathname().map(|p| p.display().to_string()));
        assert_eq!(path("unix:path=/run/user/1/bus,guid=0a").as_deref(), Some("/run/user/1/bus"));
        assert_eq!(path("tcp:host=x;unix:guid=1,path=/a%20b").as_deref(), Some("/a b"));
        assert!(
            parse_address("unix:abstract=/tmp/x").is_some_and(|a| a.as_abstract_name() == Some(b"/tmp/x"))
        );
        for bad in ["", "tcp:host=x", "unix:path=/a%2", "unix:path=/a%zz"] {
            assert!(parse_address(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let call = Call { destination: "d.d", path: "/p", interface: "i.i", member: "M" };
        let message = call.message(7, false, &("a", 5u32)).unwrap();
        assert_eq!(&message[..4], [if cfg!(target_endian = "big") { b'B' } else { b'l' }, 1, 0, 1]);
        let word = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
        // "a" with its length and end, padding, and the number.
        assert_eq!((word(4), word(8)), (12, 7));
        let fields = usize::try_from(word(12)).unwrap();
        assert_eq!((16 + fields).next_multiple_of(8) + 12, message.len());
        let text = String::from_utf8_lossy(&message);
        assert!(text.contains("\u{8}\u{1}g\0\u{2}su\0"), "{text:?}");
    }
}
