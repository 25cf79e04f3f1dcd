package server

import (
	"crypto/tls"
	"net/http"
	"strconv"
	"sync/atomic"

	"uringhttpd/service/metrics"
)

// scrapers is the number of connections to a listener for metrics allowed above
// limits.connections, so that monitoring works when no other client is accepted.
const scrapers = 2

// counters are the metrics of the loop. Only the loop writes them; its workers read them.
type counters struct {
	connections, orphaned, pendingMax, cutOff atomic.Int64
	acceptFailures, badRecords                atomic.Int64
	handshakes                                [len(handshakeFailures)]atomic.Int64 // failed handshakes
	responses                                 [unknown]atomic.Int64                // by transport
	engineDead                                atomic.Bool
	drivers                                   *drivers
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

// ServeHTTP serves the metrics at /metrics.
func (m *counters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	metrics.Serve(w, r, m.families())
}

func (m *counters) families() []metrics.Family {
	dead := int64(0)
	if m.engineDead.Load() {
		dead = 1
	}
	var handshakes, responses, drivers []metrics.Sample
	for i, reason := range handshakeFailures {
		handshakes = append(handshakes, metrics.Labeled(m.handshakes[i].Load(), "reason", reason))
	}
	for t, label := range [len(m.responses)]string{plain: "plain", kernel: "kernel", user: "user"} {
		responses = append(responses, metrics.Labeled(m.responses[t].Load(), "transport", label))
	}
	for _, d := range m.drivers.list() {
		drivers = append(drivers, metrics.Labeled(1, "cipher", tls.CipherSuiteName(d.Suite), "driver", d.Name, "asynchronous", strconv.FormatBool(d.Async),
			"hardware", strconv.FormatBool(d.Hardware), "tested", strconv.FormatBool(d.Verified)))
	}
	return []metrics.Family{
		{Name: "uringhttpd_connections", Kind: metrics.Gauge, Help: "Open connections.", Samples: metrics.Single(m.connections.Load())},
		{Name: "uringhttpd_connections_lost", Kind: metrics.Gauge, Help: "Connections that the crypto engine has not released.", Samples: metrics.Single(m.orphaned.Load())},
		{Name: "uringhttpd_crypto_engine_dead", Kind: metrics.Gauge, Help: "1 if the crypto engine stopped answering and is disabled.", Samples: metrics.Single(dead)},
		{Name: "uringhttpd_pending_max_bytes", Kind: metrics.Gauge, Help: "Maximum of a connection's bytes inside kernel TLS since the start.", Samples: metrics.Single(m.pendingMax.Load())},
		{Name: "uringhttpd_responses_cut_off_total", Kind: metrics.Counter, Help: "Responses that ended before their last byte.", Samples: metrics.Single(m.cutOff.Load())},
		{Name: "uringhttpd_accept_failures_total", Kind: metrics.Counter, Help: "Connections not accepted for lack of descriptors or memory.", Samples: metrics.Single(m.acceptFailures.Load())},
		{Name: "uringhttpd_bad_record_mac_total", Kind: metrics.Counter, Help: "bad_record_mac alerts from clients: records that they could not decrypt.", Samples: metrics.Single(m.badRecords.Load())},
		{Name: "uringhttpd_tls_handshake_failures_total", Kind: metrics.Counter, Help: "Failed TLS handshakes.", Samples: handshakes},
		{Name: "uringhttpd_responses_total", Kind: metrics.Counter, Help: "Responses, including those that were cut off.", Samples: responses},
		{Name: "uringhttpd_kernel_tls_info", Kind: metrics.Gauge, Help: "Drivers that kernel TLS may use.", Samples: drivers},
	}
}
