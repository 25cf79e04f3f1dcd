package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	families := []Family{
		{"connections", Gauge, "Open connections.", Single(3)},
		{"absent", Counter, "No samples.", nil},
		{"info", Gauge, "Labels.", []Sample{
			Labeled(1, "driver", "gcm(aes)", "note", "a \"quote\", a \\ and\na line"),
			Labeled(0, "driver", ""),
		}},
	}
	const page = `# HELP connections Open connections.
# TYPE connections gauge
connections 3
# HELP info Labels.
# TYPE info gauge
info{driver="gcm(aes)",note="a \"quote\", a \\ and\na line"} 1
info{driver=""} 0
`
	for _, tt := range []struct {
		name, method, path string
		status             int
		body, allow        string
	}{
		{"page", "GET", "/metrics", 200, page, ""},
		{"head", "HEAD", "/metrics", 200, page, ""}, // the server leaves out the body
		{"another path", "GET", "/", 404, "/metrics", ""},
		{"another method", "POST", "/metrics", 405, "GET", "GET, HEAD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Serve(w, httptest.NewRequest(tt.method, tt.path, nil), families)
			body := w.Body.String()
			if w.Code != tt.status || w.Header().Get("Allow") != tt.allow || !strings.Contains(body, tt.body) {
				t.Errorf("got status %d, Allow %q, and\n%s", w.Code, w.Header().Get("Allow"), body)
			}
			if tt.status == 200 && (body != tt.body || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8") {
				t.Errorf("got %q\n%s\nwant\n%s", w.Header().Get("Content-Type"), body, tt.body)
			}
		})
	}
}
