package config

import (
	"crypto/tls"
	"reflect"
	"strings"
	"testing"
)

// TestKernelRequireNeedsTLS13: tls.kernel: require sets the minimum version to TLS 1.3.
func TestKernelRequireNeedsTLS13(t *testing.T) {
	for text, want := range map[string]uint16{
		"tls: {kernel: require}\n":                           tls.VersionTLS13,
		"tls: {kernel: require, minimum_version: \"1.3\"}\n": tls.VersionTLS13,
		"tls: {kernel: auto, minimum_version: \"1.2\"}\n":    tls.VersionTLS12,
		"tls: {kernel: auto}\n":                              tls.VersionTLS12,
	} {
		if got := mustParse(t, minimal+text).TLS.MinimumVersion; got != want {
			t.Errorf("%s: %x, want %x", text, got, want)
		}
	}
}

// TestParseWarns parses configurations that are valid, but probably not intended.
func TestParseWarns(t *testing.T) {
	const pair = "tls: {certificate: c, key: k}\n"
	for _, test := range []struct {
		name, file string
		want       []string
	}{
		{"plain", minimal, nil},
		{"sample", sample, nil},
		{"example", string(Example()), nil},
		{"no listener has TLS", minimal + pair, []string{
			"3: tls.certificate: is set, but no listener has TLS, so everything is served as plain HTTP; write tls: true in an entry of listen, or remove the section tls"}},
		{"only a key", minimal + "tls:\n  kernel: auto\n  certificate: ''\n  key: k\n", []string{
			"6: tls.key: is set, but no listener has TLS, so everything is served as plain HTTP; write tls: true in an entry of listen, or remove the section tls"}},
		{"kernel TLS is required", minimal + "tls:\n  kernel: require\n", []string{
			"4: tls.kernel: is set, but no listener has TLS, so everything is served as plain HTTP; write tls: true in an entry of listen, or remove the section tls"}},
		{"kernel TLS is off", minimal + "tls:\n  kernel: off\n", nil},
		{"TLS forgotten", "root: /a\nlisten:\n- {address: \":443\"}\n- {address: \":8443\"}\n- {address: \":444\", tls: true}\n- {address: \":80\"}\n" + pair, []string{
			"3: listen[0].address: is plain HTTP on port 443, where clients expect HTTPS; write tls: true in this entry, or another port",
			"4: listen[1].address: is plain HTTP on port 8443, where clients expect HTTPS; write tls: true in this entry, or another port"}},
		{"no TLS at all", "root: /a\nlisten: [{address: \":443\"}]\n", nil},
		{"plain HTTP for all clients", "root: /a\nlisten: [{address: \":443\", tls: true}, {address: \":80\", public: true}]\ntls: {certificate: c, key: k, client_ca: a}\nmetrics: {address: \":81\"}\n", nil},
	} {
		c := mustParse(t, test.file)
		var got []string
		for _, w := range c.Warnings {
			got = append(got, strings.TrimPrefix(w.String(), "f.yaml:"))
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}
