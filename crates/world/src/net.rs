//! Sockets: TCP over tokio. The types are tokio's, so that its traits work on them; making one is
//! only done here.

use std::{io, net::SocketAddr};

pub use tokio::net::{
    TcpListener as Listener, TcpStream as Stream,
    tcp::{OwnedReadHalf as ReadHalf, OwnedWriteHalf as WriteHalf},
};

/// Listens on `address` (port 0 takes a free one).
pub async fn listen(address: SocketAddr) -> io::Result<Listener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A restarted server must not wait for its old connections' TIME_WAIT to end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections the kernel holds for us before they are accepted: a burst of clients that all
/// reconnect at once fits.
const BACKLOG: u32 = 4096;

/// Connects to `address`.
pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let stream = Stream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
