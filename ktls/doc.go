// Package ktls moves the sending side of a TLS connection into the Linux kernel
// (Documentation/networking/tls.rst) and counts, to the byte, the data that the
// kernel has not sent yet.
//
// It is for programs with an event loop: a Session never reads or writes a socket
// (SelfTest, Bench and Probe do, on loopback connections of this program). The caller
// feeds a Session the bytes received from the client, and sends the bytes that it
// returns. After the handshake, Offload installs the sending keys in the kernel;
// from then on the program sends plaintext with send(2) or splice(2), and the
// kernel makes records of it. The receiving side stays in user space: requests are
// small, and so no control message, alert or key update can confuse the receive
// path of the socket.
//
// Offload supports all ciphers of TLS 1.3 that crypto/tls implements, and TLS 1.2 with
// the same AEADs: Suites lists them. A connection that cannot be offloaded (no tls module, a cipher
// that the kernel lacks, a resumed session of TLS 1.2) continues in user space:
// Write seals, and Output returns the records. It also does if the kernel accepted
// the upper layer protocol (ULP) and refused the key: a socket in that state
// passes bytes through (TLS_BASE in net/tls/tls_main.c).
//
// After Offload, crypto/tls may still seal a message of its own, an alert or the
// answer to a key update. The Session opens this record again with the keys that
// sealed it, and returns the content as a Message for the kernel to send.
//
// PreferTLS13 and Server.PreferTLS12 choose the cipher, because crypto/tls itself
// considers only the processors, and not the kernel's cipher driver.
//
// # Closing
//
// With an asynchronous cipher driver, a send returns once its record is queued for
// encryption, and close(2) or shutdown(2) discards the records that did not fit the
// send buffer by then. Neither poll(2) nor SIOCOUTQ covers those records. A Meter
// does: close only when Pending is 0.
//
// # Debugging
//
// /proc/net/tls_stat counts the offloaded connections (TlsTxSw, or TlsTxDevice);
// /proc/crypto lists the drivers of gcm(aes) and rfc7539(chacha20,poly1305), of
// which the kernel selects the driver with the highest priority; `ss -tie` shows the
// cipher of each connection.
package ktls
