//! Network devices of the machine that the container gets (`linux.netDevices`): each is moved into its network namespace,
//! under another name if one was given, keeps its permanent addresses and comes up there.
//!
//! **Stops**: a device that is half moved: each step is acknowledged by the kernel, and one that fails ends the start. The
//! devices that were moved by then go back to the machine with the namespace, as far as they are physical.
//!
//! **Can't stop**: what the machine's other programs do with the device meanwhile.
//!
//! The parent does it, which has the right over the machine's network (`CAP_NET_ADMIN`), while the child waits inside its
//! namespace. See `man 7 rtnetlink`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::Pid;

use super::namespaces::{self, flag};
use crate::channel::message;
use crate::child::Context;
use crate::error::{SpecError, StartError};
use crate::plan::{Draft, Layer, Op, Plan};

/// A device with its name outside and inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// As the machine calls it.
    pub outside: String,
    /// As the container calls it.
    pub inside: String,
}

/// What the kernel takes as a device's name (`dev_valid_name`).
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() < 16
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0' || c == '%')
}

/// The step at which the parent moves them, in the container's network namespace already.
pub(crate) fn plan(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let named = spec.linux().as_ref().and_then(|l| l.net_devices().as_ref());
    let mut devices = Vec::new();
    for (outside, device) in named.into_iter().flatten() {
        let field = format!("linux.netDevices[{outside}]");
        let inside = device.name().as_deref().filter(|n| !n.is_empty()).unwrap_or(outside);
        for (name, field) in [(outside.as_str(), field.clone()), (inside, format!("{field}.name"))] {
            if !is_name(name) {
                let what =
                    format!("{name:?} is no name of a network device: 1 to 15 bytes, no space, / or :");
                return Err(SpecError::new(Layer::Namespaces, field, what));
            }
        }
        devices.push(Device { outside: outside.clone(), inside: inside.to_string() });
    }
    if devices.is_empty() {
        return Ok(());
    }
    let field = "linux.netDevices";
    if !namespaces::is_private(spec, LinuxNamespaceType::Network) {
        return Err(SpecError::new(Layer::Namespaces, field, "needs a network namespace of the container's"));
    }
    devices.sort_by(|a, b| a.outside.cmp(&b.outside));
    if let Some(twice) = devices.iter().find(|d| devices.iter().filter(|e| e.inside == d.inside).count() > 1)
    {
        let what = format!("two devices can't both be {} inside", twice.inside);
        return Err(SpecError::new(Layer::Namespaces, field, what));
    }
    draft.add(Layer::Namespaces, field, Op::NetDevices(devices));
    Ok(())
}

/// The child's side: tells the parent that it is in its network namespace, and waits.
pub(crate) fn await_devices(ctx: &mut Context<'_>) -> Result<(), Errno> {
    ctx.send(message::DEVICES, 0, 0, None)?;
    super::identity::await_parent(ctx)
}

/// The parent's side: moves every device of the plan to the namespace of process `pid`.
pub(crate) fn move_all(plan: &Plan, pid: Pid) -> Result<(), StartError> {
    for step in plan.steps() {
        let Op::NetDevices(devices) = &step.op else { continue };
        for device in devices {
            one(device, pid).map_err(|errno| {
                let what = format!("move the network device {} into the container", device.outside);
                let error = StartError::new(step.layer, what, errno).field(&step.field);
                match errno {
                    Errno::NODEV => {
                        error.hint("this machine has no device of that name, or another container got it")
                    }
                    Errno::EXIST => {
                        error.hint("the container's network namespace has a device of the new name already")
                    }
                    Errno::PERM => error.hint("it needs CAP_NET_ADMIN over the machine's network"),
                    Errno::INVAL => error.hint("some devices, as a loopback, are bound to their namespace"),
                    _ => error,
                }
            })?;
        }
    }
    Ok(())
}

fn one(device: &Device, pid: Pid) -> Result<(), Errno> {
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let theirs = open(&format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?;
    let ours = open("/proc/self/ns/net")?;
    let outside = Netlink::new()?;
    let index = outside.index(&device.outside)?;
    let addresses = outside.addresses(index)?;
    let mut link = Message::link(index, 0, 0);
    link.attribute(IFLA_NET_NS_FD, &(theirs.as_raw_fd() as u32).to_ne_bytes());
    link.attribute(IFLA_IFNAME, &[device.inside.as_bytes(), b"\0"].concat());
    outside.ask(link)?;
    // A socket belongs to the namespace in which it was made.
    donjon_sys::process::setns(theirs.as_fd(), flag::NET)?;
    let inside = Netlink::new();
    donjon_sys::process::setns(ours.as_fd(), flag::NET)?;
    let inside = inside?;
    let index = inside.index(&device.inside)?;
    for address in addresses {
        inside.ask(Message::address(&address, index))?;
    }
    inside.ask(Message::link(index, IFF_UP, IFF_UP))
}

/// `linux/rtnetlink.h`, `linux/netlink.h`, `linux/if_link.h`, `linux/if_addr.h`
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_PERMANENT: u8 = 0x80;
const IFF_UP: u32 = 1;
const HEADER: usize = 16;

/// A permanent address: the fixed part and the attributes, as the kernel told them.
struct Address {
    family: u8,
    prefix: u8,
    flags: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A message on its way to the kernel, without its length, which is known at the end.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        Self(bytes)
    }

    /// A change of device `index`.
    fn link(index: u32, flags: u32, change: u32) -> Self {
        let mut message = Self::new(RTM_NEWLINK, NLM_F_ACK);
        message.0.extend([0; 4]);
        for word in [index, flags, change] {
            message.0.extend(word.to_ne_bytes());
        }
        message
    }

    /// A new address for device `index`.
    fn address(address: &Address, index: u32) -> Self {
        let mut message = Self::new(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        message.0.extend([address.family, address.prefix, address.flags, 0]);
        message.0.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            message.attribute(*kind, value);
        }
        message
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn bytes(mut self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_ne_bytes();
        for (place, byte) in self.0.iter_mut().zip(length) {
            *place = byte;
        }
        self.0
    }
}

/// A socket to the routing part of the kernel.
struct Netlink(OwnedFd);

impl Netlink {
    fn new() -> Result<Self, Errno> {
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map(Self)
    }

    fn index(&self, name: &str) -> Result<u32, Errno> {
        rustix::net::netdevice::name_to_index(&self.0, name)
    }

    fn send(&self, message: Message) -> Result<(), Errno> {
        rustix::net::send(&self.0, &message.bytes(), SendFlags::empty()).map(drop)
    }

    /// Sends a message and waits for what the kernel says to it.
    fn ask(&self, message: Message) -> Result<(), Errno> {
        self.send(message)?;
        self.answers(|_, _| ())
    }

    /// Every permanent address of device `index` that is good everywhere.
    fn addresses(&self, index: u32) -> Result<Vec<Address>, Errno> {
        let mut question = Message::new(RTM_GETADDR, NLM_F_DUMP);
        question.0.extend([0; 8]);
        self.send(question)?;
        let mut all = Vec::new();
        self.answers(|kind, body| {
            let Some(&[family, prefix, flags, scope, a, b, c, d]) = body.first_chunk() else { return };
            let of = u32::from_ne_bytes([a, b, c, d]);
            if kind != RTM_NEWADDR || of != index || scope != 0 || flags & IFA_F_PERMANENT == 0 {
                return;
            }
            let attributes = attributes(body.get(8..).unwrap_or_default());
            // The label holds the old name, the other when it was made.
            let kept = attributes.into_iter().filter(|(kind, _)| !matches!(*kind, IFA_LABEL | IFA_CACHEINFO));
            all.push(Address { family, prefix, flags, attributes: kept.collect() });
        })?;
        Ok(all)
    }

    /// Hands every answer to `each` until the kernel says that it is the last, or an error.
    fn answers(&self, mut each: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            let (length, _) = rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some(&[a, b, c, d, e, f]) = rest.first_chunk() {
                let length = u32::from_ne_bytes([a, b, c, d]) as usize;
                let body = rest.get(HEADER..length).ok_or(Errno::PROTO)?;
                match u16::from_ne_bytes([e, f]) {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let &code: &[u8; 4] = body.first_chunk().ok_or(Errno::PROTO)?;
                        return match i32::from_ne_bytes(code) {
                            0 => Ok(()),
                            code => Err(Errno::from_raw_os_error(code.saturating_neg())),
                        };
                    }
                    kind => each(kind, body),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

fn attributes(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(&[a, b, c, d]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = rest.get(4..length) else { break };
        all.push((u16::from_ne_bytes([c, d]), value.to_vec()));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for good in ["eth0", "eth0.100", "a", "exactly15bytes1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "eth%d", "sixteen-bytes-16"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_message_says_its_length_and_its_attributes_are_read_back() {
        let mut message = Message::link(7, IFF_UP, IFF_UP);
        message.attribute(IFLA_IFNAME, b"eth0\0");
        message.attribute(IFLA_NET_NS_FD, &9u32.to_ne_bytes());
        let bytes = message.bytes();
        assert_eq!(bytes.get(..4), Some(&(bytes.len() as u32).to_ne_bytes()[..]));
        let read = attributes(bytes.get(HEADER + 16..).unwrap_or_default());
        assert_eq!(read, [(IFLA_IFNAME, b"eth0\0".to_vec()), (IFLA_NET_NS_FD, 9u32.to_ne_bytes().to_vec())]);
    }

    #[test]
    fn the_kernel_answers_with_this_machines_loopback() -> Result<(), Errno> {
        let netlink = Netlink::new()?;
        let index = netlink.index("lo")?;
        // 127.0.0.1 is good on this host alone, so it is none that a container would keep.
        assert!(netlink.addresses(index)?.iter().all(|a| a.family != 2));
        assert_eq!(netlink.index("no-such-device"), Err(Errno::NODEV));
        Ok(())
    }
}
