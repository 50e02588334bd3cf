//! Binding of listeners.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, multiaddr::Protocol, swarm::SwarmEvent};

use super::{NetError, behaviour::Behaviour};

/// Where an address binds, and whether by UDP.
fn socket(address: &Multiaddr) -> Option<(SocketAddr, bool)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some((SocketAddr::new(ip, port), false)),
        Protocol::Udp(port) => Some((SocketAddr::new(ip, port), true)),
        _ => None,
    }
}

/// libp2p shares a TCP port with any other process that shares it too, so a second node on the same port would start
/// and take half of the first one's connections. Binding it alone for a moment shows whether it is free.
fn probe(address: &Multiaddr) -> Result<(), NetError> {
    let Some((socket, udp)) = socket(address) else { return Ok(()) };
    let bound = if udp { UdpSocket::bind(socket).map(drop) } else { TcpListener::bind(socket).map(drop) };
    bound.map_err(|e| failed(address, &e))
}

fn failed(address: &Multiaddr, error: &std::io::Error) -> NetError {
    let reason = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the port is in use by another program; stop it, or choose another port".to_owned()
        }
        _ => error.to_string(),
    };
    NetError::Listen { address: address.clone(), port: socket(address).map(|(s, _)| s.port()), reason }
}

/// Binds every address and waits until the swarm listens on it.
pub(super) async fn bind(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<(), NetError> {
    for address in addresses {
        probe(address)?;
    }
    for address in addresses {
        let listen = |reason: String| NetError::Listen {
            address: address.clone(),
            port: socket(address).map(|(s, _)| s.port()),
            reason,
        };
        let id = swarm.listen_on(address.clone()).map_err(|e| match e {
            libp2p::TransportError::Other(e) => failed(address, &e),
            other => listen(other.to_string()),
        })?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == id => break,
                SwarmEvent::ListenerError { listener_id, error } if listener_id == id => {
                    return Err(failed(address, &error));
                }
                SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == id => {
                    let reason = reason.err().map_or_else(|| "the listener closed".into(), |e| e.to_string());
                    return Err(listen(reason));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
