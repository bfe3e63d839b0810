//! The machine that the figures were measured on: processor, kernel, filesystem. Read from /proc; a missing
//! value is `unknown`.

use std::path::Path;

/// The processor model and the number of processors.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} x {count}", cpu_model(&info).unwrap_or("unknown"))
}

/// The kernel release.
pub fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    match text.trim() {
        "" => "unknown".to_owned(),
        release => release.to_owned(),
    }
}

/// The type of the filesystem that `dir` is on.
pub fn filesystem(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    filesystem_of(&mounts, &real).unwrap_or("unknown").to_owned()
}

/// Processor time of this thread; `None` if the system does not report it.
pub fn thread_cpu_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| {
        let (name, model) = line.split_once(':')?;
        (name.trim() == "model name").then_some(model.trim())
    })
}

/// The type of the mount whose mount point is the longest prefix of `dir`; among equals the last, which hides
/// the others.
fn filesystem_of<'a>(mountinfo: &'a str, dir: &Path) -> Option<&'a str> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let point = head.split(' ').nth(4)?.replace("\\040", " ");
            let kind = tail.split(' ').next()?;
            dir.starts_with(&point).then_some((Path::new(&point).components().count(), kind))
        })
        .max_by_key(|&(depth, _)| depth)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let mounts = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /dev rw - devtmpfs udev rw
24 22 0:40 / /data rw master:1 shared:2 - xfs /dev/vdb rw
25 24 0:41 / /data rw - btrfs /dev/vdc rw
26 22 0:42 / /data/with\\040space rw - tmpfs tmpfs rw
broken line";
        let of = |dir: &str| filesystem_of(mounts, Path::new(dir));
        assert_eq!(of("/home"), Some("ext4"));
        assert_eq!(of("/database"), Some("ext4"), "a prefix of letters is not a prefix of the path");
        assert_eq!(of("/data/x"), Some("btrfs"));
        assert_eq!(of("/data/with space/y"), Some("tmpfs"));
        assert_eq!(filesystem_of("", Path::new("/")), None);
    }

    #[test]
    fn the_model_is_found() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: A B C\n"), Some("A B C"));
        assert_eq!(cpu_model("processor: 0"), None);
    }

    #[test]
    fn this_machine_has_facts() {
        assert!(cpu().contains(" x "));
        assert_ne!(kernel(), "");
        assert_ne!(filesystem(Path::new("/")), "");
    }
}
