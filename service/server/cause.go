package server

// A cause is the reason why a connection was reset, or ended without the rest of a response.
type cause uint8

const (
	causeNone      cause = iota
	causeClient          // the client has closed or reset the connection
	causeStalled         // no data acknowledged within stall_timeout
	causeHandshake       // the TLS handshake failed, or did not come in time
	causeTLS             // the client violated TLS, or TLS failed here
	causeOffload         // kernel TLS is required and was refused, or its keys were lost
	causeEngine          // the crypto driver is too slow, or does not answer
	causeFile            // the file changed, or could not be read
	causeStorage         // storage is too slow
	causeBusy            // all workers are busy
	causeSocket          // the socket failed
	causeStopped         // the service ended before the transfer
)

// String returns the name in logs.
func (c cause) String() string {
	return [...]string{"none", "client", "stalled", "handshake", "tls", "offload", "engine", "file", "storage", "busy", "socket", "stopped"}[c]
}

// stalledReason describes causeStalled.
const stalledReason = "no data acknowledged within stall_timeout"
