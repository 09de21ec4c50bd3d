//! A server for names on the network of a machine: every name is that of the machine itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::machine::{Machine, Network};

/// The kind of record that is known: an address of IPv4 (RFC 1035, section 3.2.2).
const A: [u8; 2] = [0, 1];

/// Answers until it is dropped.
pub struct Nameserver {
    address: SocketAddr,
    network: Network,
    asked: Arc<Mutex<Vec<String>>>,
    answering: Option<thread::JoinHandle<()>>,
}

impl Nameserver {
    /// One at this address of the machine's.
    pub fn on(machine: &Machine, address: &str) -> Self {
        let network = machine.network();
        let address = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), 53);
        let socket = network.does(|| UdpSocket::bind(address).expect("nobody else answers for names"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answering = thread::spawn({
            let asked = Arc::clone(&asked);
            move || answer_all(&socket, &asked)
        });
        Self { address, network, asked, answering: Some(answering) }
    }

    /// The names that were asked for, in the order in which they were.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        // Nothing at all ends it.
        let sent = self.network.does(|| {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(b"", self.address))
        });
        if let (Ok(_), Some(answering)) = (sent, self.answering.take()) {
            let _ = answering.join();
        }
    }
}

fn answer_all(socket: &UdpSocket, asked: &Mutex<Vec<String>>) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        if length == 0 {
            return;
        }
        if let Some((name, answer)) = answer(&packet[..length]) {
            asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The name of a query's one question, and the answer to it: an address of IPv4, and no other (RFC 1035, section 4).
fn answer(query: &[u8]) -> Option<(String, Vec<u8>)> {
    let (head, rest) = query.split_at_checked(12)?;
    let (mut labels, mut at) = (Vec::new(), 0);
    while let Some(length) = rest.get(at).map(|length| usize::from(*length)).filter(|length| *length > 0) {
        labels.push(String::from_utf8_lossy(rest.get(at + 1..=at + length)?).into_owned());
        at += 1 + length;
    }
    let question = rest.get(..at + 5)?;
    let is_known = question[at + 1..at + 3] == A;
    // The id; a response, with recursion; one question, so many answers.
    let mut answer = [&head[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_known), 0, 0, 0, 0], question].concat();
    if is_known {
        // The name is the question's, which is at 12; class IN, for no time, four bytes.
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some((labels.join("."), answer))
}
