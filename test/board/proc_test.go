package board

import (
	"maps"
	"testing"
)

// crypto is the /proc/crypto of Linux 6.12 right after a request for cryptd: the test of the
// new instance is still in progress.
const crypto = `name         : gcm(aes)
driver       : cryptd(gcm_base(ctr(aes-generic),ghash-generic))
module       : kernel
priority     : 150
refcnt       : 1
selftest     : passed
internal     : no
type         : larval
flags        : 0xc93

name         : gcm(aes)
driver       : cryptd(gcm_base(ctr(aes-generic),ghash-generic))
module       : cryptd
priority     : 150
refcnt       : 3
selftest     : unknown
internal     : no
type         : aead
async        : yes
blocksize    : 1
ivsize       : 12
maxauthsize  : 16
geniv        : <none>

name         : gcm(aes)
driver       : gcm_base(ctr(aes-generic),ghash-generic)
module       : gcm
priority     : 100
refcnt       : 2
selftest     : passed
internal     : no
type         : aead
async        : no
blocksize    : 1
ivsize       : 12
maxauthsize  : 16
geniv        : <none>

name         : gcm(aes)
driver       : __generic-gcm-aesni
module       : aesni_intel
priority     : 400
refcnt       : 1
selftest     : passed
internal     : yes
type         : aead
async        : no

`

func TestParseCryptoFindsPreferredDriver(t *testing.T) {
	all, err := parseCrypto(crypto)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 {
		t.Fatalf("got %d algorithms, want 4: %+v", len(all), all)
	}
	got, ok := preferred(all, "gcm(aes)")
	want := algorithm{name: "gcm(aes)", driver: "cryptd(gcm_base(ctr(aes-generic),ghash-generic))", priority: 150, async: true}
	if !ok || got != want {
		t.Errorf("preferred:\n got %+v\nwant %+v", got, want)
	}
	if a, ok := preferred(all, "ccm(aes)"); ok {
		t.Errorf("ccm(aes) is absent, got %+v", a)
	}
	for _, bad := range []string{"name gcm(aes)\n", "name : a\npriority : high\n"} {
		if _, err := parseCrypto(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseTLSStatReadsCounters(t *testing.T) {
	got, err := parseTLSStat("TlsCurrTxSw                     \t0\nTlsTxSw                         \t97\n")
	if want := map[string]int64{"TlsCurrTxSw": 0, "TlsTxSw": 97}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"TlsTxSw", "TlsTxSw many", "TlsTxSw 1 2"} {
		if _, err := parseTLSStat(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseSlabInfoReadsObjectsInUse(t *testing.T) {
	const header = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize>\n"
	got, err := parseSlabInfo(header + "TCP                    5     12   2560   12    8 : tunables    0    0    0 : slabdata      1      1      0\nfilp                 512    512    256   16    1 : tunables    0    0    0 : slabdata     32     32      0\n")
	if want := map[string]int{"TCP": 5, "filp": 512}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "TCP 5 12\n", header + "TCP\n", header + "TCP many\n"} {
		if _, err := parseSlabInfo(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestHostPortFindsForward(t *testing.T) {
	const table = `Hub -1 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   17       127.0.0.1 55555       10.0.2.15  8443     0     0
  TCP[HOST_FORWARD]  16       127.0.0.1 41837       10.0.2.15  8443     0     0
  TCP[HOST_FORWARD]  18       127.0.0.1 41838       10.0.2.15  8080     0     0
`
	tests := []struct {
		name        string
		guest, host int
		ok          bool
	}{
		{"the first", 8443, 41837, true},
		{"the second", 8080, 41838, true},
		{"none", 22, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if host, ok := hostPort(table, tt.guest); host != tt.host || ok != tt.ok {
				t.Errorf("got %d, %t, want %d, %t", host, ok, tt.host, tt.ok)
			}
		})
	}
}
