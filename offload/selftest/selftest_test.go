package selftest

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
	"uringhttpd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestMeasure: user space can be measured on every machine.
func TestMeasure(t *testing.T) {
	var out bytes.Buffer
	if err := Measure(false, tls.TLS_AES_128_GCM_SHA256, false, &out); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(&out)
	for _, n := range Streams {
		var m Measurement
		if err := d.Decode(&m); err != nil || m.Streams != n || m.MiBPerSecond <= 0 || m.SecondsPerGiB < 0 {
			t.Errorf("got %+v, %v", m, err)
		}
	}
	if d.More() {
		t.Error("more is measured than Streams")
	}
}

// TestKnownAnswersUnreachable: a driver that is not reachable over AF_ALG is neither right nor
// wrong.
func TestKnownAnswersUnreachable(t *testing.T) {
	var out bytes.Buffer
	var a cryptoapi.DriverAnswer
	if err := KnownAnswers("no-such-driver", true, &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &a); err != nil || a.Driver != "no-such-driver" || a.Asked || a.Right || a.Wrong || a.Reason == "" {
		t.Errorf("got %+v, %v", a, err)
	}
}

// TestWriteTextOrder: the suites are printed in one order, whatever the order of the results.
func TestWriteTextOrder(t *testing.T) {
	var out bytes.Buffer
	write := WriteText(&out)
	for _, i := range []int{2, 0, 1} {
		write(Result{Cipher: ktls.Suites()[i].Name(), Outcome: Right, Driver: "d"})
	}
	want := "TLS_AES_128_GCM_SHA256: right: d\nTLS_AES_256_GCM_SHA384: right: d\nTLS_CHACHA20_POLY1305_SHA256: right: d\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}
