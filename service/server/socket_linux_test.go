package server

import (
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// TestTCPTimeoutIsLoggedAsStall: a connection that TCP has ended for stall_timeout is logged as
// stalled, not as ended by the client.
func TestTCPTimeoutIsLoggedAsStall(t *testing.T) {
	c := newConn(driveSettings(hello), &scriptedSocket{err: unix.ETIMEDOUT}, endpoint{}, nil)
	c.exchange.response = http1.NewResponse(false)
	var reasons logLines
	c.gen.log = reasons.logger()
	c.gen.access = true
	c.fail(unix.ETIMEDOUT)
	if c.clientLeft || !reasons.has("level=WARN", stalledReason) {
		t.Errorf("left by the client %v, logged %q", c.clientLeft, reasons.String())
	}
}
