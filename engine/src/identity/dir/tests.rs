//! The files written into a data directory, and every reason to refuse a directory.

use super::*;
use crate::config::facts::{ClusterFacts, KeyHash};
use crate::identity::Pins;
use synod_types::{ClusterId, Incarnation, NodeId};

fn identity() -> Identity {
    Identity {
        facts: ClusterFacts {
            cluster: ClusterId::new(5),
            group_count: 16,
            hash: KeyHash::Crc16,
            lease_ms: 300,
            drift_ms: 10,
            founders: vec![NodeId::new(1)],
        },
        cluster_name: String::new(),
        node: NodeId::new(1),
        incarnation: Incarnation::new(9),
        cores: 2,
        pins: Pins::None,
    }
}

fn format(path: &Path) -> Result<DataDir, Refusal> {
    DataDir::format(path, identity(), &path.join(secret::SECRET_FILE), true)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_formatted_directory_holds_exactly_what_it_should_and_opens_as_itself() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("deep/data");
    assert_eq!(inspect(&path), Ok(DirState::Missing));
    drop(format(&path).unwrap());
    assert_eq!(names(&path), ["boots", "core-0", "core-1", "peers.id", "peers.secret", "synod.id"]);
    assert_eq!(inspect(&path), Ok(DirState::Formatted(Box::new(identity()))));
    let data = DataDir::open(&path).unwrap();
    assert_eq!(data.identity(), &identity());
    assert_eq!(data.core_dir(CoreId::new(1)), path.join("core-1"));
    PeerBook::load(&path, ClusterId::new(5)).unwrap();
    let boots = [data.begin().unwrap(), data.begin().unwrap()];
    assert!(boots[0].counter == 1 && boots[1].counter == 2 && boots[0].random != boots[1].random);
}

#[test]
fn a_directory_is_formatted_once() {
    let base = tempfile::tempdir().unwrap();
    drop(format(base.path()).unwrap());
    let refusal = format(base.path()).unwrap_err();
    assert!(matches!(refusal, Refusal::AlreadyFormatted { .. }));
    assert!(refusal.to_string().contains("node n1 of cluster 00000000000000000000000000000005"), "{refusal}");
}

#[test]
fn one_process_at_a_time() {
    let base = tempfile::tempdir().unwrap();
    let first = format(base.path()).unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(&refusal, Refusal::DirectoryInUse { .. }));
    assert!(refusal.to_string().contains(&format!("(process {pid})")), "{refusal}");
    // As a child process forked at this moment would hold it.
    let copy = first._lock.held().try_clone().unwrap();
    drop(first);
    DataDir::open(base.path()).unwrap();
    drop(copy);
}

#[test]
fn foreign_files_empty_mounts_and_unfinished_formats_are_told_apart() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path();
    assert_eq!(inspect(path), Ok(DirState::Empty));
    fs::create_dir(path.join("lost+found")).unwrap();
    assert_eq!(inspect(path), Ok(DirState::Empty), "a fresh mount");

    // A format that was cut short before the rename to synod.id.
    fs::create_dir(path.join("core-0")).unwrap();
    fs::write(path.join("synod.id.tmp"), "half").unwrap();
    fs::write(path.join("peers.id"), "half").unwrap();
    fs::write(path.join("boots"), "half").unwrap();
    assert_eq!(inspect(path), Ok(DirState::Empty), "unfinished");
    drop(format(path).unwrap());

    // The identity is lost, but the logs are there.
    fs::remove_file(path.join("synod.id")).unwrap();
    fs::write(path.join("core-1/segment"), "promises").unwrap();
    let lost = inspect(path).unwrap_err();
    assert!(matches!(&lost, Refusal::IdentityLost { found, .. } if found == "core-1"), "{lost}");
    assert!(format(path).is_err(), "never formatted over");

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.tex"), "x").unwrap();
    let foreign = inspect(other.path()).unwrap_err();
    assert!(
        matches!(&foreign, Refusal::ForeignDirectory { found, .. } if found == "thesis.tex"),
        "{foreign}"
    );
    let file = inspect(&other.path().join("thesis.tex")).unwrap_err();
    assert!(matches!(file, Refusal::NotADirectory { .. }), "{file}");
    fs::write(other.path().join(CLUSTER_MARKER), "").unwrap();
    assert!(
        inspect(other.path()).unwrap_err().to_string().contains("the nodes of `synod dev` or `synod bench`")
    );
}

#[test]
fn damaged_alien_and_incomplete_directories_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path();
    drop(format(path).unwrap());
    let id = path.join(ID_FILE);
    let good = fs::read(&id).unwrap();

    let mut bad = good.clone();
    bad[60] ^= 1;
    fs::write(&id, &bad).unwrap();
    let damaged = DataDir::open(path).unwrap_err();
    assert!(matches!(&damaged, Refusal::Damaged { why, .. } if why == "its checksum is wrong"), "{damaged}");
    assert!(format(path).is_err(), "never formatted over");

    for version in [1, 7] {
        let mut other = good.clone();
        other[8] = version;
        let body = other.len() - 4;
        let crc = synod_types::checksum::crc32c(&other[..body]);
        other[body..].copy_from_slice(&crc.to_le_bytes());
        fs::write(&id, &other).unwrap();
        let refusal = DataDir::open(path).unwrap_err().to_string();
        let want = format!("synod.id has format version {version} and this synod understands version 2 only");
        assert!(refusal.contains(&want), "{refusal}");
    }

    fs::write(&id, vec![0; 1 << 20]).unwrap();
    assert!(matches!(DataDir::open(path), Err(Refusal::Damaged { .. })));

    fs::write(&id, &good).unwrap();
    fs::remove_dir(path.join("core-1")).unwrap();
    let missing = DataDir::open(path).unwrap_err().to_string();
    assert!(missing.contains("core-1 is damaged (this core's log directory is missing)"), "{missing}");
}

#[test]
fn an_absent_or_empty_directory_is_unformatted() {
    let base = tempfile::tempdir().unwrap();
    for path in [base.path().to_owned(), base.path().join("absent")] {
        assert!(matches!(DataDir::open(&path), Err(Refusal::Unformatted { .. })));
    }
    assert_eq!(names(base.path()), Vec::<String>::new());
}
