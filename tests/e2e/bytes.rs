//! Truncated, oversized, random and malicious bytes at every port of a running node: the node closes those
//! connections and goes on.

use crate::cluster::Nodes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use synod_net::client::Client;

/// A small random generator, so that the bytes are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("the node runs");
    let pages: u64 = text.split(' ').nth(1).expect("a second field").parse().expect("a number");
    pages * 4096
}

fn throw(address: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else { panic!("{address} takes no connection") };
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout can be set");
    let _ = stream.write_all(bytes); // the node may close at any byte
    let mut answer = [0; 4096];
    let _ = stream.read(&mut answer);
}

#[test]
fn garbage_at_every_port_does_no_harm() {
    let mut nodes = Nodes::start("bytes");
    let targets = nodes.targets();
    let mut client = Client::connect(&targets).expect("connects");
    client.set(b"before", b"kept").expect("a write");
    let mut random = Random(0x5eed);
    let members = nodes.get().members().to_vec();
    let before: Vec<u64> = (0..3).map(|index| resident_bytes(nodes.get().pid(index))).collect();
    for member in &members {
        let ip = std::net::Ipv4Addr::LOCALHOST;
        for port in [member.client_port, member.peer_port] {
            let address = SocketAddr::from((ip, port));
            let mut cases: Vec<Vec<u8>> = vec![
                b"*1000000000\r\n".to_vec(),
                b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9999999999\r\n".to_vec(),
                b"*-5\r\n*0\r\n$\r\n".to_vec(),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
                synod_net::binary::PREAMBLE.to_vec(),
                [&synod_net::binary::PREAMBLE[..], &[0xff; 64]].concat(),
                [&synod_net::binary::PREAMBLE[..], &u32::MAX.to_le_bytes(), &[0; 60]].concat(),
                vec![0; 1 << 16],
                vec![b'a'; 1 << 20],
            ];
            for _ in 0..24 {
                let len = (random.next() % 5000) as usize;
                cases.push((0..len).map(|_| random.next() as u8).collect());
            }
            for case in &cases {
                throw(address, case);
            }
        }
    }
    for (index, before) in before.iter().enumerate() {
        assert!(nodes.get().ended_how(index).is_none(), "a node ended: {}", nodes.get().tail(index));
        let after = resident_bytes(nodes.get().pid(index));
        let grown = after.saturating_sub(*before);
        assert!(grown < 128 << 20, "garbage made a node grow by {grown} bytes");
    }
    assert_eq!(client.get(b"before").expect("a read").as_deref(), Some(&b"kept"[..]));
}
