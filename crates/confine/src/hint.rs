//! What to do about a step that failed: the next thing a person would try.

use rustix::io::Errno;

use crate::plan::Layer;

/// A hint for a failed step, if there is one worth giving.
pub(crate) fn for_step(layer: Layer, what: &str, errno: Errno) -> Option<&'static str> {
    Some(match (layer, errno) {
        (Layer::Overlay, Errno::NODEV | Errno::PERM) => {
            "overlayfs in user namespaces needs Linux 5.11 or newer; donjon doctor tells"
        }
        (Layer::Overlay, Errno::INVAL) => {
            "the tree may hold another mount point, which an ordinary user can't leave out: name a tree without one"
        }
        (Layer::Mounts, Errno::PERM) if what.contains("procfs") => {
            "this machine's own /proc is masked (donjon runs inside another container?); donjon doctor tells"
        }
        (Layer::Mounts, Errno::LOOP) if what.starts_with("mask ") => {
            "a symbolic link lies there or on the way: name what it leads to, as no mask is laid through a link"
        }
        (Layer::Mounts | Layer::Devices | Layer::Rootfs, Errno::LOOP) => {
            "the image has a symbolic link where a directory or file of its own must be; it is never followed"
        }
        (Layer::Mounts | Layer::Devices, Errno::NOENT) => {
            "the mount point does not exist and is not made in something that was mounted in: make it there first"
        }
        (Layer::Mounts | Layer::Devices | Layer::Rootfs, Errno::NOTDIR) => {
            "a file stands where a directory is needed; a file can only be mounted over a file"
        }
        (Layer::Devices, Errno::EXIST) => "the image has something else in the place of that device",
        (Layer::Devices, Errno::NODEV) => "this machine's own node of that path is another device",
        (Layer::Mounts, Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS)
            if what.contains("context=") || what.contains("context of its root") =>
        {
            "linux.mountLabel and the option context: SELinux is not active on this machine, or its policy does not know \
             that context"
        }
        (Layer::Mounts, Errno::ISDIR) => "a directory stands where a file is to be mounted",
        (Layer::Mounts | Layer::Rootfs | Layer::Overlay, Errno::STALE) => {
            "it changed between the check and the start; if nobody meddled, try again"
        }
        (Layer::Mounts | Layer::Rootfs | Layer::Overlay, Errno::NOSPC) => {
            "the limit of mounts (/proc/sys/fs/mount-max) or of the RAM file system is reached"
        }
        (_, Errno::NOMEM) => "the machine or its cgroup is out of memory",
        (_, Errno::NFILE | Errno::MFILE) => "too many open files: see ulimit -n",
        (Layer::Rootfs, Errno::INVAL) if what.contains("pivot") => {
            "the root of this machine is an initial ramfs, which can't be left: donjon needs a real mounted root"
        }
        (Layer::Apparmor, _) => {
            "AppArmor is not active on this machine, or has no such profile: see /sys/kernel/security/apparmor/profiles"
        }
        (Layer::Selinux, _) => {
            "SELinux is not active on this machine, or its policy does not know the context"
        }
        (Layer::Scheduling, Errno::PERM) => {
            "it needs CAP_SYS_NICE over the machine, and a real-time policy a cgroup with real-time processor time"
        }
        (Layer::Limits, Errno::PERM) if what.starts_with("RLIMIT") => {
            "raising a hard limit needs CAP_SYS_RESOURCE over the machine"
        }
        (Layer::Integrity, Errno::NOEXEC) => {
            "its bytes could be mapped as code, and integrity is enforced: pipe it (cat FILE | donjon run -i ...)"
        }
        (Layer::Namespaces, Errno::AGAIN) => {
            "the limit of processes is reached: see ulimit -u, process.rlimits, or the cgroup's pids.max"
        }
        (Layer::Landlock, _) => "donjon doctor tells what this kernel's Landlock can do",
        (Layer::Seccomp, Errno::BUSY) => {
            "this process already runs under a seccomp filter with a listener, and the kernel allows one"
        }
        (_, Errno::PIPE) => "donjon itself was killed meanwhile",
        _ => return None,
    })
}
