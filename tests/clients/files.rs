//! What a container sees of files: volumes, mounts of the engine's, the image.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::for_engines;
use crate::house::{Engine, fresh, work};

/// Place, writability and kind of file system of every mount, but for devices and for what is below `/proc`: how a path
/// is masked or made read-only is the runtime's own affair.
pub const MOUNTS: &str = "awk '{ n = index($0, \" - \"); split(substr($0, n + 3), fs, \" \"); \
                          if (fs[1] != \"devtmpfs\" && $5 != \"/sys/fs/cgroup\" && $5 !~ /^\\/proc\\//) print $5, substr($6, 1, 2), fs[1] }' \
                          /proc/self/mountinfo | sort";

for_engines!([podman, rootless, docker] {
    a_bind_mount_is_written_through,
    a_read_only_bind_mount_is_not_written,
    a_single_file_can_be_mounted,
    a_place_for_a_mount_is_made_when_it_is_missing,
    the_options_of_a_bind_mount_hold,
    a_named_volume_keeps_its_content,
    a_tmpfs_has_its_size_and_mode,
    a_read_only_root_is_not_written,
    the_mounts_are_the_same,
    the_devices_are_the_same,
    what_is_masked_is_the_same,
    the_size_of_dev_shm_is_as_asked,
    a_device_is_brought_in,
    the_engines_files_are_in_etc,
    the_working_directory_is_as_asked,
});
for_engines!([podman, docker] {
    mounts_propagate_as_asked,
});
for_engines!([podman, rootless] {
    a_tmpfs_begins_with_what_the_image_has_there,
    paths_are_masked_and_unmasked,
});

fn a_bind_mount_is_written_through(engine: Engine) {
    engine.each(|client| {
        let dir = work("bind");
        fs::write(dir.join("there"), "before\n").expect("a file");
        let volume = format!("{}:/data", dir.display());
        client
            .shell(&["-v", &volume], "cat /data/there; echo after > /data/made")
            .succeeds()
            .prints("before");
        assert_eq!(fs::read_to_string(dir.join("made")).expect("made by the container"), "after\n");
    });
}

fn a_read_only_bind_mount_is_not_written(engine: Engine) {
    engine.each(|client| {
        let dir = work("bind");
        let volume = format!("{}:/data:ro", dir.display());
        client.shell(&["-v", &volume], "touch /data/made").fails().complains("read-only file system");
        assert!(!dir.join("made").exists());
    });
}

fn a_single_file_can_be_mounted(engine: Engine) {
    engine.each(|client| {
        let dir = work("file");
        fs::write(dir.join("file"), "content\n").expect("a file");
        let volume = format!("{}:/etc/new/file:ro", dir.join("file").display());
        client.shell(&["-v", &volume], "cat /etc/new/file").succeeds().prints("content");
    });
}

fn a_place_for_a_mount_is_made_when_it_is_missing(engine: Engine) {
    engine.each(|client| {
        let dir = work("bind");
        let volume = format!("{}:/deep/er/still", dir.display());
        client.shell(&["-v", &volume], "touch /deep/er/still/made").succeeds();
        assert!(dir.join("made").exists());
    });
}

fn the_options_of_a_bind_mount_hold(engine: Engine) {
    let dir = work("bind");
    let program = dir.join("program");
    fs::write(&program, "#!/bin/sh\necho ran\n").expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let plain = format!("{}:/data", dir.display());
    engine.each(|client| {
        client.run(&["-v", &plain], &["/data/program"]).succeeds().prints("ran");
    });
    if engine.is_podman() {
        let inert = format!("{plain}:ro,noexec,nosuid,nodev");
        engine.each(|client| {
            client.run(&["-v", &inert], &["/data/program"]).exits(126).complains("permission denied");
        });
        let script = "grep ' /data ' /proc/self/mountinfo | cut -d' ' -f6";
        engine.agrees(&["-v", &inert], script).says("ro,nosuid,nodev,noexec");
    }
}

fn mounts_propagate_as_asked(engine: Engine) {
    let mount = |dir: &std::path::Path| {
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(dir).status();
        assert!(mounted.expect("mount").success());
    };
    engine.each(|client| {
        let dir = work("bind");
        for (propagation, arrives) in [("rslave", "1"), ("rprivate", "0")] {
            let below = dir.join(propagation);
            fs::create_dir(&below).expect("a directory");
            let container = client.idle(&["-v", &format!("{}:/data:{propagation}", dir.display())]);
            mount(&below);
            let script = format!("grep -c ' /data/{propagation} ' /proc/self/mountinfo");
            container.exec(&[], &["sh", "-c", &script]).prints(arrives);
        }
    });
}

fn a_named_volume_keeps_its_content(engine: Engine) {
    engine.each(|client| {
        let name = fresh("volume");
        let volume = format!("{name}:/data");
        client.shell(&["-v", &volume], "echo kept > /data/file").succeeds();
        client.shell(&["-v", &volume], "cat /data/file").succeeds().prints("kept");
        client.go(&["volume", "rm", &name]).succeeds();
    });
}

fn a_tmpfs_has_its_size_and_mode(engine: Engine) {
    let script = "stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'; touch /t/x && echo wrote; \
                  grep ' /t ' /proc/self/mountinfo | cut -d' ' -f6";
    engine.agrees(&["--tmpfs", "/t:size=1m,mode=700"], script).succeeds().says("700\n1024\nwrote\n");
}

fn a_tmpfs_begins_with_what_the_image_has_there(engine: Engine) {
    engine.each(|client| {
        let mount = "type=tmpfs,destination=/etc,tmpcopyup";
        client
            .shell(&["--mount", mount], "cat /etc/group; touch /etc/made && echo wrote")
            .succeeds()
            .says("guest:x:1000:");
    });
}

fn a_read_only_root_is_not_written(engine: Engine) {
    engine.each(|client| {
        client.shell(&["--read-only"], "touch /made").fails().complains("read-only file system");
        let container = client.idle(&["--read-only", "--tmpfs", "/scratch"]);
        container.exec(&[], &["touch", "/made"]).fails().complains("read-only file system");
        container.exec(&[], &["touch", "/scratch/made"]).succeeds();
    });
    // Podman gives such containers a place for temporary files.
    engine.agrees(&["--read-only"], "touch /tmp/made && echo wrote; touch /run/made && echo wrote");
}

fn the_mounts_are_the_same(engine: Engine) {
    engine.agrees(&[], MOUNTS).succeeds().says("/dev/pts rw devpts");
    engine.agrees(&["--read-only", "--cap-drop", "all"], MOUNTS).succeeds().says("/ ro overlay");
}

fn the_devices_are_the_same(engine: Engine) {
    let script = "cd /dev; for f in * pts/*; do stat -c '%n %F %a %u:%g %t:%T' $f; done; for f in fd stdin stdout stderr ptmx; do readlink $f; done";
    engine.agrees(&[], script).succeeds().says("null character special file 666");
    let open = "for d in null zero full random urandom tty; do head -c 0 /dev/$d 2>&1 && echo $d; done; \
                echo x > /dev/full; echo x > /dev/null && echo wrote";
    engine.agrees(&[], open).succeeds().says("wrote");
    let made = "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg 2>&1 | head -c 0; cat /tmp/kmsg > /dev/null 2>&1; echo $?";
    engine.agrees(&[], made);
}

fn what_is_masked_is_the_same(engine: Engine) {
    let script = "for p in acpi kcore keys latency_stats timer_list timer_stats sched_debug scsi; do \
                      [ -e /proc/$p ] && echo $p: $(ls -A /proc/$p/ 2>/dev/null | wc -l) $(cat /proc/$p 2>/dev/null | wc -c); \
                  done; ls /sys/firmware | wc -l; echo x > /proc/sys/kernel/hostname; echo x > /proc/sysrq-trigger; echo $?";
    engine.agrees(&[], script).says("keys: 0 0");
}

fn paths_are_masked_and_unmasked(engine: Engine) {
    let options = ["--security-opt", "mask=/etc/passwd", "--security-opt", "unmask=/proc/kcore"];
    let script = "cat /etc/passwd; cat /proc/keys 2>/dev/null; [ -r /proc/kcore ]; echo $?";
    engine.agrees(&options, script).succeeds();
    engine.each(|client| {
        client.run(&options, &["cat", "/etc/passwd"]).prints("");
        client.run(&["--security-opt", "unmask=/proc/acpi"], &["ls", "/proc/acpi"]).succeeds();
    });
}

fn the_size_of_dev_shm_is_as_asked(engine: Engine) {
    let script =
        "df -k /dev/shm | tail -1 | awk '{print $2}'; stat -c %a /dev/shm; touch /dev/shm/x && echo wrote";
    engine.agrees(&["--shm-size", "2m"], script).succeeds().prints("2048\n1777\nwrote");
}

fn a_device_is_brought_in(engine: Engine) {
    let script = "stat -c '%F %t:%T' /dev/fuse; head -c 0 /dev/fuse && echo opens";
    engine.agrees(&["--device", "/dev/fuse"], script).says("character special file a:e5");
    engine.agrees(&[], "ls /dev/fuse").fails();
}

fn the_engines_files_are_in_etc(engine: Engine) {
    engine.each(|client| {
        client
            .shell(
                &["--hostname", "inner", "--add-host", "other:10.1.2.3"],
                "hostname; echo $(cat /etc/hostname); cat /etc/hosts",
            )
            .succeeds()
            .says("inner\ninner\n")
            .says("10.1.2.3");
    });
}

fn the_working_directory_is_as_asked(engine: Engine) {
    engine.each(|client| {
        client.run(&["-w", "/tmp"], &["pwd"]).succeeds().prints("/tmp");
    });
    // Docker makes it, Podman refuses.
    engine.agrees(&["-w", "/not/there"], "pwd; stat -c '%a %u' .");
}
