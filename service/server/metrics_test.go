package server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"uringhttpd/offload"
)

// TestMetricsListener: a listener for metrics serves the metrics, and nothing else. They count the
// responses of the other listeners, and can be read when the connection limit is reached.
func TestMetricsListener(t *testing.T) {
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "file") }), func(o *Options) {
		o.Connections = 1
		o.Drivers = []offload.Driver{{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "gcm-aes-caam", Async: true, Hardware: true}}
	})
	read := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + ts.metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	c, err := net.Dial("tcp", ts.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	if _, err := c.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	status, text := read("/metrics")
	for _, want := range []string{
		"\nuringhttpd_responses_total{transport=\"plain\"} 1\n",
		"\nuringhttpd_responses_total{transport=\"kernel\"} 0\n",
		"\nuringhttpd_responses_cut_off_total 0\n",
		"\nuringhttpd_crypto_engine_dead 0\n",
		"\nuringhttpd_connections_lost 0\n",
		"\nuringhttpd_kernel_tls_info{cipher=\"TLS_AES_128_GCM_SHA256\",driver=\"gcm-aes-caam\",asynchronous=\"true\",hardware=\"true\",tested=\"false\"} 1\n",
		"# TYPE uringhttpd_connections gauge\nuringhttpd_connections ",
	} {
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("status %d, and no %q in\n%s", status, want, text)
		}
	}
	if status, text := read("/"); status != 404 || strings.Contains(text, "file") {
		t.Errorf("/ of the listener for metrics: %d, %q", status, text)
	}
}
