package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestNames: each cause, state, phase and transport has a name of its own.
func TestNames(t *testing.T) {
	var all []fmt.Stringer
	for c := causeNone; c <= causeStopped; c++ {
		all = append(all, c)
	}
	for s := stHandshakeInput; s <= stClosed; s++ {
		all = append(all, s)
	}
	for p := phRead; p <= phFill; p++ {
		all = append(all, p)
	}
	for tr := plain; tr <= unknown; tr++ {
		all = append(all, tr)
	}
	seen := map[string]bool{}
	for _, v := range all {
		name := fmt.Sprintf("%T %v", v, v)
		if v.String() == "" || seen[name] {
			t.Errorf("%q is no name, or twice there", name)
		}
		seen[name] = true
	}
}

// TestRequestTLS: a handler learns how its request was encrypted, and from which address it came.
func TestRequestTLS(t *testing.T) {
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := "none"
		if r.TLS != nil {
			version = fmt.Sprintf("%x %t", r.TLS.Version, r.TLS.HandshakeComplete)
		}
		fmt.Fprintf(w, "TLS %s from %s.", version, r.RemoteAddr)
	}), nil)
	for _, withTLS := range []bool{false, true} {
		c := ts.dial(t, withTLS)
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		var got strings.Builder
		buf := make([]byte, 4<<10)
		for {
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		want := "none"
		if withTLS {
			want = "304 true"
		}
		if text := fmt.Sprintf("TLS %s from %s.", want, c.LocalAddr()); !strings.HasSuffix(got.String(), text) {
			t.Errorf("TLS %t: %q, want %q at its end", withTLS, got.String(), text)
		}
	}
}
