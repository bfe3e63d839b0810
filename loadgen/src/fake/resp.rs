//! A small RESP server in threads of the test, with configurable faults.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Each fault hits one in this many commands; 0 for none.
#[derive(Default)]
pub(crate) struct RespFaults {
    pub(crate) lose_write: u64,
    pub(crate) break_connection: u64,
    pub(crate) refuse: u64,
    pub(crate) obscure: u64,
    pub(crate) corrupt_read: u64,
}

pub(crate) struct FakeResp {
    shared: Arc<RespState>,
    target: String,
}

struct RespState {
    keys: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    faults: RespFaults,
    commands: AtomicU64,
    password: Mutex<Option<&'static str>>,
    /// How often the password was accepted.
    admissions: AtomicU64,
    /// The server refuses the generator, as if it ran on another machine.
    protected: AtomicBool,
    /// Faults begin once this is set.
    trouble: AtomicBool,
    ended: AtomicBool,
}

impl FakeResp {
    pub(crate) fn start(faults: RespFaults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let target = listener.local_addr().expect("a listener has an address").to_string();
        let shared = Arc::new(RespState {
            keys: Mutex::default(),
            faults,
            commands: AtomicU64::new(0),
            password: Mutex::default(),
            admissions: AtomicU64::new(0),
            protected: AtomicBool::new(false),
            trouble: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let acceptor = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if acceptor.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&acceptor);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { shared, target }
    }
    pub(crate) fn target(&self) -> String {
        self.target.clone()
    }
    pub(crate) fn set_trouble(&self, on: bool) {
        self.shared.trouble.store(on, Ordering::SeqCst);
    }
    /// Makes the server require this password on new connections.
    pub(crate) fn set_password(&self, password: &'static str) {
        *self.shared.password.lock().expect("no test fails with the lock") = Some(password);
    }
    pub(crate) fn protect(&self) {
        self.shared.protected.store(true, Ordering::SeqCst);
    }
    pub(crate) fn admissions(&self) -> u64 {
        self.shared.admissions.load(Ordering::SeqCst)
    }
    pub(crate) fn key_count(&self) -> usize {
        self.shared.keys.lock().expect("no test fails with the lock").len()
    }
}

impl Drop for FakeResp {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.target));
    }
}

fn serve(shared: &RespState, stream: TcpStream) {
    stream.set_nodelay(true).expect("a TCP socket has the option");
    let mut out = stream.try_clone().expect("a socket can be cloned");
    let mut input = BufReader::new(stream);
    let password = *shared.password.lock().expect("no test fails with the lock");
    let mut is_admitted = password.is_none();
    while let Some(parts) = read_command(&mut input) {
        let count = shared.commands.fetch_add(1, Ordering::SeqCst) + 1;
        let is_write = parts[0] == b"SET";
        let trouble = shared.trouble.load(Ordering::SeqCst);
        let hit = |one_in: u64| trouble && one_in > 0 && count.is_multiple_of(one_in);
        let mut keys = shared.keys.lock().expect("no test fails with the lock");
        let reply = match parts[0].as_slice() {
            _ if shared.protected.load(Ordering::SeqCst) => {
                let _ = out.write_all(b"-DENIED in protected mode, as no password is set\r\n");
                break;
            }
            b"AUTH" => match password {
                Some(password) if parts[1] == password.as_bytes() => {
                    is_admitted = true;
                    shared.admissions.fetch_add(1, Ordering::SeqCst);
                    b"+OK\r\n".to_vec()
                }
                Some(_) => b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_vec(),
                // Redis answers an unknown command by repeating all of it.
                None => {
                    let told = String::from_utf8_lossy(&parts[1]);
                    format!("-ERR unknown command 'AUTH', with args beginning with: '{told}'\r\n").into()
                }
            },
            _ if !is_admitted => b"-NOAUTH Authentication required.\r\n".to_vec(),
            b"PING" => b"+PONG\r\n".to_vec(),
            _ if hit(shared.faults.break_connection) => {
                if count.is_multiple_of(2) && is_write {
                    keys.insert(parts[1].clone(), parts[2].clone());
                }
                break;
            }
            _ if hit(shared.faults.refuse) => b"-OOM command not allowed\r\n".to_vec(),
            _ if hit(shared.faults.obscure) => b"-ODD who knows\r\n".to_vec(),
            b"SET" => {
                if !hit(shared.faults.lose_write) {
                    keys.insert(parts[1].clone(), parts[2].clone());
                }
                b"+OK\r\n".to_vec()
            }
            b"GET" => match keys.get(&parts[1]) {
                None => b"$-1\r\n".to_vec(),
                Some(value) => {
                    let mut reply = format!("${}\r\n", value.len()).into_bytes();
                    reply.extend_from_slice(value);
                    if hit(shared.faults.corrupt_read) {
                        let last = reply.len() - 1;
                        reply[last] ^= 1;
                    }
                    reply.extend_from_slice(b"\r\n");
                    reply
                }
            },
            _ => b"-ERR unknown command\r\n".to_vec(),
        };
        drop(keys);
        if out.write_all(&reply).is_err() {
            break;
        }
    }
    let _ = out.shutdown(Shutdown::Both);
}

fn read_command(input: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = read_count(input, '*')?;
    (0..count)
        .map(|_| {
            let size = read_count(input, '$')?;
            let mut part = vec![0; size + 2];
            input.read_exact(&mut part).ok()?;
            part.truncate(size);
            Some(part)
        })
        .collect()
}

fn read_count(input: &mut impl BufRead, mark: char) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.strip_prefix(mark)?.trim_end().parse().ok()
}
