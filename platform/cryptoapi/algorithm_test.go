package cryptoapi

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"uringhttpd/ktls"
)

// TestParse reads a list that no board has: it is composed from crypto/proc.c and the drivers'
// sources for an i.MX6 with all possible drivers.
func TestParse(t *testing.T) {
	f, err := os.Open("testdata/composed.crypto")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(all), 7; got != want {
		t.Fatalf("%d algorithms, want %d", got, want)
	}
	got := all[1]
	want := Algorithm{
		Name: "gcm(aes)", Driver: "gcm-aes-caam", Module: "caam_jr", Type: "aead",
		Priority: 3000, Async: true, SelfTest: "unknown",
	}
	if got != want {
		t.Errorf("second entry\n got %+v\nwant %+v", got, want)
	}
	if !all[4].Internal {
		t.Errorf("%s: Internal = false, want true", all[4].Driver)
	}

	gcm := Implementations(all, ktls.AlgorithmGCM)
	var drivers []string
	for _, a := range gcm {
		drivers = append(drivers, a.Driver)
	}
	wantDrivers := []string{
		"gcm_base(ctr-aes-caam,ghash-neon)",
		"gcm_base(ctr(aes-generic),ghash-generic)",
		"later-of-two-equals",
		"gcm-aes-caam", // has not passed its self-test
	}
	if !slices.Equal(drivers, wantDrivers) {
		t.Errorf("gcm\n got %q\nwant %q", drivers, wantDrivers)
	}
	if a := gcm[0]; !a.Selectable() || !a.Async {
		t.Errorf("the first is %+v, want one that can be selected, async", a)
	}
}

// TestCapturedLists: in lists of emulated boards that run Debian's Linux 6.12, which
//
//	go test -tags board ./test/board -run 'TestDoctor|TestBoards/.*-caam/doctor' -board.full -board.update
//
// writes, the right driver is selected, and no entry is skipped.
func TestCapturedLists(t *testing.T) {
	for name, want := range map[string]struct {
		gcm    string
		async  bool
		others int // of gcm(aes)
		ctr    string
	}{
		"amd64-caam": {"gcm-aes-caam", true, 1, "ctr(aes-generic)"},
		"arm64-caam": {"gcm-aes-caam", true, 1, "ctr(aes-generic)"},
		"armv7-caam": {"gcm-aes-caam", true, 1, "ctr(aes-arm)"},
		"imx8mp":     {"gcm_base(ctr(aes-generic),ghash-generic)", false, 0, "ctr(aes-generic)"},
		"sabrelite":  {"gcm_base(ctr(aes-arm),ghash-generic)", false, 0, "ctr(aes-arm)"},
	} {
		text, err := os.ReadFile("testdata/" + name + ".crypto")
		if err != nil {
			t.Fatal(err)
		}
		all, err := Parse(bytes.NewReader(text))
		if err != nil || len(all) != bytes.Count(text, []byte("\nname "))+1 {
			t.Errorf("%s: %d algorithms, %v", name, len(all), err)
		}
		gcm, ctr := Implementations(all, ktls.AlgorithmGCM), Implementations(all, "ctr(aes)")
		if len(gcm) != want.others+1 || !gcm[0].Selectable() || gcm[0].Driver != want.gcm || gcm[0].Async != want.async {
			t.Errorf("%s: got %+v", name, gcm)
		}
		if len(ctr) == 0 || ctr[0].Driver != want.ctr || !ctr[0].Selectable() {
			t.Errorf("%s: got %+v", name, ctr)
		}
	}
}

// TestParseMalformed: unknown and malformed lines are ignored, and a list without end is an error.
func TestParseMalformed(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		entries  int
		err      string // part of the error, empty if none is wanted
	}{
		{"empty", "", 0, ""},
		{"no last newline", "name : a\npriority : 1", 1, ""},
		{"many blank lines", "\n\n\nname : a\n\n\n\nname : b\n\n", 2, ""},
		{"new key", "name : a\nshininess : 7\n", 1, ""},
		{"value with a colon", "name : a:b\n", 1, ""},
		{"entry without a name", "driver : a\n\nname : b\n", 1, ""},
		{"negative priority", "name : a\npriority : -1\n", 1, ""},
		{"bad priority", "name : a\npriority : high\n", 1, ""},
		{"huge priority", "name : a\npriority : 99999999999\n", 1, ""},
		{"no colon", "something new in 7.4\nname : a\nnonsense\n", 1, ""},
		{"escape sequence", "name : a\nmodule : \x1b[2J\n", 1, ""},
		{"escape sequence in the name", "name : \x1b[2J\n\nname : b\n", 1, ""},
		{"not ASCII", "name : a\nau\xc3\x9fen : \xff\n\nname : b\n", 2, ""},
		{"zero byte", "name : a\ndriver : a\x00b\n", 1, ""},
		{"carriage return", "name : a\r\n\nname : b\n", 1, ""},
		{"long line", "name : a\nflags : " + strings.Repeat("name : b\t", maxCryptoLine) + "\ndriver : d\n\nname : c\n", 2, ""},
		{"long line at the end", "name : a\nflags : " + strings.Repeat("a", 3*maxCryptoLine), 1, ""},
		{"line of just the bound", "name : a\n" + strings.Repeat("a", maxCryptoLine-1) + "\n\n" + strings.Repeat("a", maxCryptoLine) + "\nname : b\n", 2, ""},
		{"endless", strings.Repeat("name : a\n\n", maxCryptoBytes/8), 0, ErrTooLarge.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, err := Parse(strings.NewReader(tt.in))
			if len(all) != tt.entries {
				t.Errorf("%d algorithms, want %d", len(all), tt.entries)
			}
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("error %q, want none", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want one with %q", err, tt.err)
			}
		})
	}
	const text = "name : a\nsomething new\ndriver : d\nflags : \xff\npriority : 7\n"
	if all, err := Parse(strings.NewReader(text)); err != nil || len(all) != 1 || all[0] != (Algorithm{Name: "a", Driver: "d", Priority: 7}) {
		t.Errorf("unknown lines between known lines: %+v, %v", all, err)
	}
	if _, err := Parse(iotest.ErrReader(os.ErrPermission)); !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v, want that of the reader", err)
	}
}

// FuzzParse: no input panics, and all accepted text is printable, since it is written to a terminal
// and to a log.
func FuzzParse(f *testing.F) {
	caam, err := os.ReadFile("testdata/composed.crypto")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(caam))
	f.Add("name : a\npriority : -2147483648\n\nname : b\npriority : 2147483647\n")
	f.Add("name:\n\x1b")
	f.Fuzz(func(t *testing.T, in string) {
		all, err := Parse(strings.NewReader(in))
		if err != nil && all != nil {
			t.Fatalf("%d algorithms beside an error", len(all))
		}
		for _, a := range all {
			if a.Name == "" {
				t.Fatal("an algorithm without a name")
			}
			for _, s := range []string{a.Name, a.Driver, a.Module, a.Type, a.SelfTest} {
				if i := strings.IndexFunc(s, func(r rune) bool { return (r < ' ' && r != '\t') || r > '~' }); i >= 0 {
					t.Fatalf("%q is not printable at %d", s, i)
				}
			}
		}
		sorted := Implementations(all, ktls.AlgorithmGCM)
		for i := 1; i < len(sorted); i++ {
			a, b := sorted[i-1], sorted[i]
			if !a.Selectable() && b.Selectable() || a.Selectable() == b.Selectable() && a.Priority < b.Priority {
				t.Fatalf("%+v stands before %+v", a, b)
			}
		}
	})
}
