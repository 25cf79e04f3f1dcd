package offload

import (
	"errors"
	"strings"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
)

// TestReadVerdicts: the results of a child are read, however it ended.
func TestReadVerdicts(t *testing.T) {
	const a128, a256, chacha = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
	line := func(cipher string, outcome selftest.Outcome, text string) string {
		r := selftest.Result{Cipher: cipher, Outcome: outcome, Reason: text}
		if outcome == selftest.Right {
			r.Driver, r.Reason = text, ""
		}
		var b strings.Builder
		selftest.WriteJSON(&b)(r)
		return b.String()
	}
	failed := errors.New("status 1")
	for _, tt := range []struct {
		name, output string
		ended        error
		want         string // of each suite
		err          bool
	}{
		{"right", line(a128, selftest.Right, "aes") + line(chacha, selftest.Right, "gcm_base(x,y)") + line(a256, selftest.Right, ""), nil, "right aes, right, right gcm_base(x,y)", false},
		{"wrong", line(a128, selftest.Wrong, "ktls: record 3") + line(a256, selftest.Right, "") + line(chacha, selftest.Unsupported, "why"), failed, "ktls: record 3, right, none", false},
		{"none supported", line(a128, selftest.Unsupported, "x") + line(a256, selftest.Unsupported, "x") + line(chacha, selftest.Unsupported, "x"), failed, "none, none, none", false},
		{"not tested", line(a128, selftest.Untested, "x: y") + line(a256, selftest.Untested, "x: y") + line(chacha, selftest.Right, "c"), failed, "none, none, right c", false},
		{"no answer", "", platform.ErrTimeout, "no answer in time, no answer in time, no answer in time", false},
		{"a partial answer", line(chacha, selftest.Right, "") + line(a128, selftest.Right, ""), platform.ErrTimeout, "right, no answer in time, right", false},
		{"a crash", "panic: x\n", failed, "none, none, none", true},
		{"a crash after the first result", line(a128, selftest.Right, "") + "panic: x\n", failed, "right, none, none", true},
		{"a line that is cut off", `{"cipher":"TLS_AES_128_GCM_SHA256","outcome":"wr`, platform.ErrTimeout, "no answer in time, no answer in time, no answer in time", false},
		{"no output", "", nil, "none, none, none", true},
	} {
		verdicts, err := readVerdicts(tt.output, tt.ended)
		got := ""
		for _, suite := range ktls.Suites() {
			v, ok := verdicts[suite.ID]
			switch {
			case !ok:
				got += "none, "
			case v.Err == nil:
				got += strings.TrimSpace("right "+v.Driver) + ", "
			default:
				got += v.Err.Error() + ", "
			}
		}
		if got = strings.Trim(got, ", "); got != tt.want || (err != nil) != tt.err {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestUntestedIsNoVerdict: a suite that must not be tested is neither right nor wrong.
func TestUntestedIsNoVerdict(t *testing.T) {
	var out strings.Builder
	for _, suite := range ktls.Suites() {
		selftest.WriteJSON(&out)(selftest.Result{Cipher: suite.Name(), Outcome: selftest.Untested, Reason: "it corrupts memory"})
	}
	verdicts, err := readVerdicts(out.String(), errors.New("status 1"))
	if err != nil || gcmFailure(verdicts) != nil || !errors.Is(regression(verdicts, verdicts), errUntested) {
		t.Errorf("verdicts %v, %v", verdicts, err)
	}
}

// TestFirstFailure: an engine whose test could not run has not passed it.
func TestFirstFailure(t *testing.T) {
	wrong, failed := errors.New("record 3"), errors.New("no process")
	for _, tt := range []struct {
		name     string
		verdicts platform.Verdicts
		err      error
		want     error
	}{
		{"right", platform.Verdicts{1: {}, 2: {}}, nil, nil},
		{"wrong", platform.Verdicts{1: {}, 2: {Err: wrong}}, nil, wrong},
		{"another is wrong", platform.Verdicts{1: {}, 2: {}, 3: {Err: wrong}}, nil, nil},
		{"one without a result", platform.Verdicts{1: {}}, nil, ErrInconclusive},
		{"no process", platform.Verdicts{}, failed, ErrInconclusive},
		{"wrong, and then a crash", platform.Verdicts{1: {Err: wrong}}, failed, wrong},
	} {
		if err := firstFailure([]uint16{1, 2}, tt.verdicts, tt.err); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
