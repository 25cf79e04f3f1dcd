// Package ktls moves the sending side of a TLS connection into the Linux kernel
// (Documentation/networking/tls.rst) and knows, to the byte, what the kernel has
// not sent yet.
//
// It is for programs with an event loop: no Session reads or writes a socket
// (SelfTest and Bench do, on connections of this program to itself).
// A Session is fed what the client sent and hands out what must be sent. After
// the handshake, Offload gives the sending keys to the kernel; from then on the
// program sends plaintext with send(2) or splice(2), and the kernel makes
// records of it. What the client sends stays in user space: requests are small,
// and this way no control message, alert or key update can confuse the receive
// path of the socket.
//
// The kernel gets TLS 1.3 with each of its ciphers, and TLS 1.2 with the same
// ones. A connection that it does not take (no tls module, a cipher it does not
// have, a resumed session of TLS 1.2) goes on in user space: Write seals, Output
// hands out. That holds too where the kernel took the upper layer protocol and
// refused the key: a socket in that state passes bytes through (TLS_BASE in
// net/tls/tls_main.c).
//
// What crypto/tls wants to tell the client by itself after the hand-over, an
// alert or the answer to a key update, is opened again with the keys it was
// sealed with, and offered as a Message for the kernel to send.
//
// PreferTLS13 and Server.PreferTLS12 choose the cipher, for crypto/tls by itself
// looks at processors only, and not at who encrypts.
//
// # Closing
//
// With an asynchronous cipher a send returns once its record is queued for
// encryption, and close(2) or shutdown(2) throws away what did not fit the send
// buffer by then. Neither poll(2) nor SIOCOUTQ sees those records. A Meter does:
// close only when Pending is 0.
//
// # Debugging
//
// /proc/net/tls_stat counts what was handed over (TlsTxSw, or TlsTxDevice);
// /proc/crypto lists which gcm(aes) or rfc7539(chacha20,poly1305) the kernel
// takes, the one with the highest priority; `ss -tie` shows the cipher of each connection.
package ktls
