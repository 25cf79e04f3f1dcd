package keygen

import (
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"
)

// TestDefaultNamesCoverTheMachine: without -name the certificate is valid for the host name, the
// host name under .local, localhost, and the addresses of the machine except link-local ones.
func TestDefaultNamesCoverTheMachine(t *testing.T) {
	r, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	cert := read(t, r)
	names := []string{"localhost", "127.0.0.1", "[::1]"}
	host, addresses := thisMachine()
	if isHostname(host) {
		names = append(names, host, strings.Split(host, ".")[0]+".local")
	}
	for _, a := range addresses {
		if a.IsGlobalUnicast() {
			names = append(names, a.String())
		}
	}
	for _, name := range names {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}

	const local = "localhost 127.0.0.1 ::1"
	many := make([]netip.Addr, maxAddresses+2)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	for _, test := range []struct {
		host      string
		addresses string
		want      string
		note      string // part of the only note; "": no note
	}{
		{"Board", "192.0.2.1 127.0.0.1 fe80::1 2001:db8::1 fd00::1 10.0.0.1 169.254.1.1 ::1", "board board.local " + local + " 192.0.2.1 2001:db8::1 fd00::1 10.0.0.1", ""},
		{"board.example.com", "", "board.example.com board.local " + local, ""},
		{"board.local", "", "board.local board.local " + local, ""},
		{"localhost", "", local, ""},
		{"localhost.localdomain", "", "localhost.localdomain " + local, ""},
		{"", "", local, ""},
		{"my_board", "", "my_board my_board.local " + local, ""},
		{"my board", "", local, `the host name "my board" is omitted`},
		{"123", "", local, `the host name "123" is omitted`},
	} {
		var addresses []netip.Addr
		for _, a := range strings.Fields(test.addresses) {
			addresses = append(addresses, netip.MustParseAddr(a))
		}
		names, notes := defaultNames(test.host, addresses)
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.host, got, test.want)
		}
		if got := strings.Join(notes, "\n"); !strings.Contains(got, test.note) || (got == "") != (test.note == "") {
			t.Errorf("%s: note %q, want %q", test.host, got, test.note)
		}
		if _, err := parseNames(names); err != nil {
			t.Error(err)
		}
	}
	if names, notes := defaultNames("", many); len(names) != 3+maxAddresses || len(notes) != 1 || !strings.HasPrefix(notes[0], "2 addresses ") {
		t.Errorf("many addresses: %d names, notes %q", len(names), notes)
	}
}

// TestUnderscoreIsAcceptedWithANote: the note says that some clients reject the name.
func TestUnderscoreIsAcceptedWithANote(t *testing.T) {
	r, err := Create(t.TempDir(), []string{"my_board", "my-board"}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	cert := read(t, r)
	for _, name := range []string{"my_board", "my-board"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], `"my_board" has an underscore`) {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestInvalidNamesAreRejected(t *testing.T) {
	for _, name := range []string{"", "a b", "https://board", "board:443", "board.", "-a", "a-", "a..b", "1.2.3", "256.0.0.1",
		"fe80::1%eth0", "[::1]", "*", "*.com", "a.*.example.com", "größe", strings.Repeat("a", 64), strings.Repeat("a.", 130) + "a"} {
		dir := t.TempDir()
		_, err := Create(dir, []string{"board", name}, testTime)
		if err == nil || !strings.Contains(err.Error(), "write the name or address that clients connect to") {
			t.Errorf("%q: %v", name, err)
		}
		if left := list(t, dir); len(left) > 0 {
			t.Errorf("%q: left %v", name, left)
		}
	}
	long := strings.Repeat("a", 63) + ".local"
	h, err := parseNames([]string{long})
	if err != nil || h.commonName() != "uringhttpd" || h.dns[0] != long {
		t.Errorf("a long name: %v, %v", h, err)
	}
	if h, err := parseNames([]string{"::1"}); err != nil || h.commonName() != "::1" {
		t.Errorf("an address: %v, %v", h, err)
	}
}

// FuzzNames: a certificate with an accepted name is valid for clients that connect to that name.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"board.local", "*.example.com", "127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::1%1", "", "a..b", "-", "1.2.3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		h, err := parseNames([]string{name})
		if err != nil {
			return
		}
		if len(h.dns)+len(h.ip) != 1 || h.commonName() == "" || len(h.commonName()) > 64 {
			t.Fatalf("%q: %v", name, h)
		}
		// crypto/x509 must accept the certificate for this name.
		cert := &x509.Certificate{DNSNames: h.dns, IPAddresses: h.ip}
		requested := strings.Replace(name, "*", "x", 1)
		if len(h.ip) > 0 {
			requested = h.ip[0].String()
		}
		if err := cert.VerifyHostname(requested); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	})
}
