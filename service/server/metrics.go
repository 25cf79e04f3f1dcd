package server

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// scrapers is the number of connections to a listener for metrics allowed above
// limits.connections, so that monitoring works when no other client is accepted.
const scrapers = 2

// counters are the metrics of the loop. Only the loop writes them.
type counters struct {
	connections, lost, pendingMax, cutOff atomic.Int64
	acceptFailures, badRecords            atomic.Int64
	handshakes                            [len(handshakeFailures)]atomic.Int64 // failed handshakes
	responses                             [3]atomic.Int64                      // by transport
	engineDead                            atomic.Bool
	drivers                               *drivers
}

// ended counts a response.
func (m *counters) ended(t transport, pendingMax int64, cutOff bool) {
	if int(t) < len(m.responses) {
		m.responses[t].Add(1)
	}
	if cutOff {
		m.cutOff.Add(1)
	}
	if pendingMax > m.pendingMax.Load() {
		m.pendingMax.Store(pendingMax)
	}
}

// ServeHTTP writes the metrics in Prometheus' text format, version 0.0.4, at /metrics.
func (m *counters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.Error(w, "metrics are at /metrics", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "metrics are only read", http.StatusMethodNotAllowed)
		return
	}
	var b strings.Builder
	metric := func(name, kind, help string, value int64) {
		fmt.Fprintf(&b, "# HELP uringhttpd_%s %s\n# TYPE uringhttpd_%s %s\nuringhttpd_%s %d\n", name, help, name, kind, name, value)
	}
	metric("connections", "gauge", "Connections now.", m.connections.Load())
	metric("connections_lost", "gauge", "Connections that the crypto engine did not give back.", m.lost.Load())
	dead := int64(0)
	if m.engineDead.Load() {
		dead = 1
	}
	metric("crypto_engine_dead", "gauge", "1 if the crypto engine did not answer, and is not used any more.", dead)
	metric("pending_max_bytes", "gauge", "The most that a connection ever had inside kernel TLS.", m.pendingMax.Load())
	metric("responses_cut_off_total", "counter", "Responses that did not reach their end.", m.cutOff.Load())
	metric("accept_failures_total", "counter", "Connections that could not be accepted for lack of descriptors or memory.", m.acceptFailures.Load())
	metric("bad_record_mac_total", "counter", "Alerts of clients that could not open a TLS record.", m.badRecords.Load())
	fmt.Fprintf(&b, "# HELP uringhttpd_tls_handshake_failures_total TLS handshakes that failed.\n# TYPE uringhttpd_tls_handshake_failures_total counter\n")
	for i, reason := range handshakeFailures {
		fmt.Fprintf(&b, "uringhttpd_tls_handshake_failures_total{reason=%q} %d\n", reason, m.handshakes[i].Load())
	}
	fmt.Fprintf(&b, "# HELP uringhttpd_responses_total Responses, those that were cut off included.\n# TYPE uringhttpd_responses_total counter\n")
	for i, label := range []string{"plain", "kernel", "user"} {
		fmt.Fprintf(&b, "uringhttpd_responses_total{transport=%q} %d\n", label, m.responses[i].Load())
	}
	if len(m.drivers.list()) > 0 {
		fmt.Fprintf(&b, "# HELP uringhttpd_kernel_tls_info Who may encrypt in the kernel.\n# TYPE uringhttpd_kernel_tls_info gauge\n")
	}
	for _, e := range m.drivers.list() { // a driver's name is printable ASCII, without quotes or backslashes
		fmt.Fprintf(&b, "uringhttpd_kernel_tls_info{cipher=%q,driver=%q,asynchronous=\"%t\",hardware=\"%t\",tested=\"%t\"} 1\n",
			tls.CipherSuiteName(e.Suite), e.Name, e.Async, e.Hardware, e.Verified)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, b.String())
}
