//! Named sets of system calls, with systemd's names where systemd has one (`systemd-analyze syscall-filter`) and
//! donjon's own members.

/// A set: its name, what it is for, its members.
pub type Set = (&'static str, &'static str, &'static [&'static str]);

/// All sets. [`DEFAULT`] names those that a container has unless its policy says otherwise.
pub const SETS: &[Set] = &[
    (
        "@basic-io",
        "reading and writing what is open",
        &[
            "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
            "pwritev2", "lseek", "close", "close_range", "dup", "dup2", "dup3", "fcntl", "ioctl", "sendfile",
            "splice", "tee", "copy_file_range", "fadvise64", "readahead",
        ],
    ),
    (
        "@file-system",
        "files and directories",
        &[
            "open", "openat", "openat2", "creat", "access", "faccessat", "faccessat2", "stat", "lstat",
            "fstat", "newfstatat", "statx", "statfs", "fstatfs", "getdents", "getdents64", "getcwd", "chdir",
            "fchdir", "mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat",
            "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod",
            "fchmodat", "fchmodat2", "utime", "utimes", "utimensat", "futimesat", "truncate", "ftruncate",
            "fallocate", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "flock", "umask",
            "mknod", "mknodat", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr",
            "flistxattr", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr",
            "fremovexattr", "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
            "chown", "fchown", "lchown", "fchownat",
        ],
    ),
    (
        "@io-event",
        "waiting for descriptors",
        &[
            "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl",
            "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2",
        ],
    ),
    (
        "@ipc",
        "pipes, shared memory, semaphores, message queues of System V",
        &[
            "pipe", "pipe2", "memfd_create", "shmget", "shmat", "shmctl", "shmdt", "semget", "semop",
            "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl",
        ],
    ),
    (
        "@memory",
        "the program's own memory",
        &[
            "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "mlock", "mlock2", "munlock",
            "mlockall", "munlockall", "mincore", "msync", "membarrier", "pkey_alloc", "pkey_free",
            "pkey_mprotect", "mseal", "map_shadow_stack", "get_mempolicy",
        ],
    ),
    (
        "@process",
        "processes, threads and what they are",
        &[
            "clone", "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid",
            "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getgroups",
            "getresuid", "getresgid", "getpgid", "getpgrp", "setpgid", "getsid", "setsid", "set_tid_address",
            "arch_prctl", "prctl", "getrlimit", "setrlimit", "prlimit64", "getrusage", "getpriority",
            "setpriority", "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam",
            "sched_setparam", "sched_getscheduler", "sched_setscheduler", "sched_get_priority_max",
            "sched_get_priority_min", "sched_rr_get_interval", "sched_getattr", "sched_setattr", "times",
            "capget", "capset", "uname", "sysinfo", "getcpu", "set_robust_list", "get_robust_list", "rseq",
            "personality", "pidfd_open", "pidfd_send_signal", "ioprio_get", "ioprio_set", "unshare",
        ],
    ),
    (
        "@setuid",
        "becoming another user; without effect where one id is mapped",
        &[
            "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid",
            "setgroups",
        ],
    ),
    (
        "@signal",
        "signals",
        &[
            "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend",
            "rt_sigtimedwait", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "kill", "tkill",
            "tgkill", "pause", "signalfd", "signalfd4", "restart_syscall",
        ],
    ),
    (
        "@timer",
        "clocks and timers",
        &[
            "clock_gettime", "clock_getres", "gettimeofday", "time", "nanosleep", "clock_nanosleep", "alarm",
            "getitimer", "setitimer", "timer_create", "timer_delete", "timer_settime", "timer_gettime",
            "timer_getoverrun", "timerfd_create", "timerfd_settime", "timerfd_gettime",
        ],
    ),
    ("@sync", "locks", &["futex", "futex_waitv", "futex_wake", "futex_wait", "futex_requeue"]),
    (
        "@network-io",
        "sockets, of the families that the policy names",
        &[
            "socket", "socketpair", "bind", "listen", "accept", "accept4", "connect", "getsockname",
            "getpeername", "getsockopt", "setsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg",
            "sendmmsg", "recvmmsg", "shutdown",
        ],
    ),
    (
        "@sandbox",
        "a program narrowing itself",
        &["seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"],
    ),
    ("@random", "random numbers", &["getrandom"]),
    (
        "@aio",
        "the old asynchronous disk interface (libaio)",
        &["io_setup", "io_submit", "io_getevents", "io_pgetevents", "io_cancel", "io_destroy"],
    ),
    (
        "@mqueue",
        "POSIX message queues",
        &["mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"],
    ),
    (
        "@io-uring",
        "io_uring: much kernel code, often attacked",
        &["io_uring_setup", "io_uring_enter", "io_uring_register"],
    ),
    (
        "@debug",
        "looking into other processes",
        &["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise"],
    ),
    (
        "@mount",
        "mounting",
        &[
            "mount", "umount2", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree",
            "mount_setattr", "pivot_root", "listmount", "statmount",
        ],
    ),
];

/// The sets of a container whose policy says nothing else; `@default` stands for them.
pub const DEFAULT: &[&str] = &[
    "@basic-io", "@file-system", "@io-event", "@ipc", "@memory", "@process", "@setuid", "@signal", "@timer",
    "@sync", "@network-io", "@sandbox", "@random",
];

/// The members of a set; for `@default` those of all its sets.
pub fn members(name: &str) -> Option<Vec<&'static str>> {
    if name == "@default" {
        return Some(DEFAULT.iter().filter_map(|set| find(set)).flatten().copied().collect());
    }
    find(name).map(<[_]>::to_vec)
}

fn find(name: &str) -> Option<&'static [&'static str]> {
    SETS.iter().find(|(set, ..)| *set == name).map(|(.., members)| *members)
}

/// The set that a call belongs to, if any: the shortest way to allow it with its kin.
pub fn set_of(call: &str) -> Option<&'static str> {
    SETS.iter().find(|(.., members)| members.contains(&call)).map(|(set, ..)| *set)
}

/// System calls that a capability opens, when the policy grants it.
pub const BY_CAPABILITY: &[(&str, &[&str])] = &[
    ("CAP_SYS_CHROOT", &["chroot"]),
    (
        "CAP_SYS_ADMIN",
        &[
            "mount", "umount2", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree",
            "mount_setattr", "pivot_root", "setns", "sethostname", "setdomainname", "listmount", "statmount",
        ],
    ),
    (
        "CAP_SYS_PTRACE",
        &["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise"],
    ),
    ("CAP_SYS_TIME", &["settimeofday", "clock_settime", "adjtimex", "clock_adjtime"]),
    ("CAP_SYS_NICE", &["set_mempolicy", "mbind", "migrate_pages", "move_pages"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at", "name_to_handle_at"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYSLOG", &["syslog"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    ("CAP_BPF", &["bpf"]),
    ("CAP_SYS_RAWIO", &["iopl", "ioperm"]),
    ("CAP_SYS_MODULE", &["init_module", "finit_module", "delete_module"]),
];
