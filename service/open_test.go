package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/keygen"
)

// TestPrivateFilesBelowRootAreReported: Open warns if the key, a file that contains a key, or the
// configuration is below the root, also through links.
func TestPrivateFilesBelowRootAreReported(t *testing.T) {
	p := newPKI(t)
	dir := t.TempDir()
	join := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"files", "keys/deep", "conf"} {
		if err := os.MkdirAll(join(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"keys/cert": p.cert("leaf"), "keys/deep/key": p.key("leaf"), "keys/both": p.cert("leaf") + p.key("leaf"), "conf/key": p.key("leaf"), "files/hello": "",
	} {
		if err := os.WriteFile(join(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Symlink("keys", join("link")),                    // a link as the root
		os.Symlink("../keys/deep/key", join("conf/linked")), // a link into the root as the key
		os.Symlink("../conf/key", join("files/out")),        // a link out of the root, which the handler does not follow
		os.Symlink(join("keys"), join("absolute")),          // another path of the key's directory
		os.Symlink("/", join("slash")), os.Link(join("conf/key"), join("conf/hard"))); err != nil {
		t.Fatal(err)
	}
	const key, certificate, file = "contains the private key", "contains a private key", "contains this configuration"
	for _, tt := range []struct{ root, certificate, key, warning, problem string }{
		{"files", "keys/cert", "keys/deep/key", "", ""},
		{"files", "keys/cert", "files/out", "", ""},
		{"keys/deep", "keys/cert", "keys/deep/key", key, ""},
		{"keys/deep/../deep/", "keys/cert", "keys/deep/key", key, ""},
		{"keys", "keys/cert", "keys/deep/key", key, ""},
		{"link", "keys/cert", "keys/deep/key", key, ""},
		{"keys", "keys/cert", "conf/linked", key, ""},
		{"keys", "keys/cert", "absolute/deep/key", key, ""},
		{"keys", "keys/both", "conf/key", certificate, ""},
		{"keys", "keys/cert", "conf/key", "", ""},
		{"conf", "keys/cert", "keys/deep/key", file, ""},
		{"/", "keys/cert", "keys/deep/key", "", "is the whole file system"},
		{"slash", "keys/cert", "keys/deep/key", "", "is the whole file system"},
	} {
		text := "# \nlisten: [{address: \"127.0.0.1:0\", tls: true}]\nroot: ../" + tt.root + "\ntls: {certificate: ../" + tt.certificate + ", key: ../" + tt.key + "}\n"
		if tt.root == "/" {
			text = strings.Replace(text, "..//", "/", 1)
		}
		problems, warnings, _ := openText(t, join("conf"), text)
		for _, x := range []struct {
			got  []string
			want string
		}{{problems, tt.problem}, {warnings, tt.warning}} {
			var want []string
			if x.want != "" {
				want = []string{"f:3: root: " + x.want}
			}
			match(t, tt.root+" with "+tt.key, x.got, want)
		}
	}
}

// TestConnectionsAreComparedWithDescriptors: Open warns if limits.connections needs more
// descriptors than RLIMIT_NOFILE, with the largest number of connections that fits.
func TestConnectionsAreComparedWithDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < limit.Max-1 {
		t.Errorf("the Go runtime has left the soft limit at %d of %d", limit.Cur, limit.Max)
	}
	root := t.TempDir()
	warnings := func(connections uint64) config.Problems {
		cfg := mustParse(t, fmt.Sprintf("listen: [{address: \":0\"}]\nroot: %s\nlimits:\n  connections: %d\n", root, connections))
		o, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
		return o.Warnings
	}
	fits := min((limit.Max-64)/4, 1_000_000)
	if got := warnings(fits); len(got) != 0 {
		t.Errorf("%d connections with %d files: %v", fits, limit.Max, got)
	}
	if fits == 1_000_000 {
		t.Log("this machine allows files for every number of connections")
		return
	}
	want := fmt.Sprintf("f:4: limits.connections: %d connections may need %d files, and this process may open %d (RLIMIT_NOFILE); write LimitNOFILE=%d in the unit, or at most %d connections",
		fits+1, 4*fits+68, limit.Max, 4*fits+68, fits)
	if got := warnings(fits + 1); len(got) != 1 || got[0].String() != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

// TestALPNAcceptsHTTP1Only: a client that offers only "http/1.0", as some versions of curl do, is
// accepted. A client that offers only "h2" is rejected.
func TestALPNAcceptsHTTP1Only(t *testing.T) {
	dir := t.TempDir()
	if _, err := keygen.Create(dir, []string{"board"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse([]byte("listen: [{address: \"127.0.0.1:0\", tls: true}]\nroot: .\ntls: {certificate: cert.pem, key: key.pem}\n"), filepath.Join(dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", opened.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake() // the client checks the result
			c.Close()
		}
	}()
	for _, tc := range []struct {
		offer []string
		want  string // "": rejected
	}{
		{[]string{"http/1.0"}, "http/1.0"},
		{[]string{"http/1.0", "http/1.1"}, "http/1.1"},
		{[]string{"h2", "http/1.1"}, "http/1.1"},
		{[]string{"h2"}, ""},
	} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: tc.offer})
		got := ""
		if err == nil {
			got = c.ConnectionState().NegotiatedProtocol
			c.Close()
		}
		if got != tc.want {
			t.Errorf("%q offered: %q, %v, want %q", tc.offer, got, err, tc.want)
		}
	}
}

// TestMissingFilesAreTemporary: a missing file is a temporary problem, after which systemd restarts
// the service; an invalid file is not.
func TestMissingFilesAreTemporary(t *testing.T) {
	for text, want := range map[string]bool{
		"listen: [{address: \":0\"}]\nroot: none\n":                                                 true,
		"listen: [{address: \":0\"}]\nroot: file\n":                                                 false,
		"listen: [{address: \":0\", tls: true}]\nroot: root\ntls: {certificate: none, key: none}\n": true,
		"listen: [{address: \":0\", tls: true}]\nroot: root\ntls: {certificate: none, key: file}\n": false,
	} {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Mkdir(filepath.Join(dir, "root"), 0o755)); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Parse([]byte(text), filepath.Join(dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(cfg)
		var problems config.Problems
		if !errors.As(err, &problems) || problems.Temporary() != want {
			t.Errorf("%s: %v, want temporary: %v", text, err, want)
		}
	}
}
