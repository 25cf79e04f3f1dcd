//go:build board

package board_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
	"uringhttpd/test/board"
	"uringhttpd/test/caamsim"
)

// testQuarantine: an engine that is wrong, or fails, when the daemon starts is not used: its
// output reaches no client, the log warns once, doctor reports it, and a daemon that requires
// kernel TLS does not start. The same holds for an engine that is wrong only while other keys
// are in use.
func testQuarantine(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	tests := []struct {
		name      string
		brief     bool
		parameter string
		reason    string
	}{
		{"corrupts", true, "corrupt_every=1", "is encrypted wrongly"},
		{"corrupts now and then", false, "corrupt_every=13", "is encrypted wrongly"},
		{"fails", false, "fail_every=5", "encrypted bytes arrived"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if effort == brief && !tt.brief {
				t.Skip("left for make test-all")
			}
			d := newDead(ctx, t, m)
			tune(ctx, t, m, tt.parameter)
			testDoctorQuarantine(ctx, t, m, tt.reason)
			if tt.brief {
				if r := runDoctor(ctx, t, m, autoConfig, "-driver", caamsim.Driver); r.Status != 1 || !r.Answers.Asked || r.Answers.Right || !strings.Contains(r.Answers.Reason, "the output is wrong") {
					t.Errorf("known answers: %+v", r)
				}
			}
			var err error
			if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: autoConfig}); err != nil {
				t.Fatal(err)
			}
			d.serves(ctx, t, tt.name)
			if err := d.p.Stop(ctx); err != nil {
				t.Error(err)
			}
			e, err := d.p.Output(ctx)
			if err != nil {
				t.Fatal(err)
			}
			warnings := 0
			for line := range strings.Lines(string(e.Stderr)) {
				if strings.Contains(line, "WARN") && strings.Contains(line, "kernel TLS is not used with TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384") && strings.Contains(line, "gcm-aes-caam") {
					warnings++
				}
			}
			if warnings != 1 {
				t.Errorf("%d warnings, want one:\n%s", warnings, e.Stderr)
			}
			p, err := m.StartDaemon(ctx, board.Daemon{})
			if err == nil {
				t.Error("the daemon requires kernel TLS, and started")
				p.Stop(ctx)
			} else if !strings.Contains(err.Error(), tt.reason) || !strings.Contains(err.Error(), "require") {
				t.Errorf("the daemon requires kernel TLS: got %v; want the reason for which it cannot use it", err)
			}
		})
	}
}

// A doctorReport holds the fields of doctor -json that the tests check.
type doctorReport struct {
	Board     platform.Board
	IOURing   platform.Feature  `json:"io_uring"`
	KernelTLS platform.Feature  `json:"kernel_tls"`
	Sends     platform.SendTest `json:"sends_without_room"`
	Ciphers   []struct {
		Usable, Verified, Quarantined bool
		Reason                        string
	}
	GCM             []cryptoapi.Algorithm
	AESInstructions bool             `json:"aes_instructions"`
	Netlink         platform.Feature `json:"netlink_crypto"`
	Answers         struct {
		Asked, Right bool
		Reason       string
		Speed        float64 `json:"mib_per_second"`
	} `json:"known_answers"`
	Verdict string
	Status  int
}

// runDoctor runs doctor with a configuration.
func runDoctor(ctx context.Context, t *testing.T, m *board.Machine, config string, options ...string) (r doctorReport) {
	t.Helper()
	if err := m.WriteFile(ctx, board.ConfigPath, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := m.Run(ctx, nil, append([]string{board.ProgramPath, "doctor", "-json", "-config", board.ConfigPath}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(e.Stdout, &r); err != nil {
		t.Fatalf("%v in %q, %q", err, e.Stdout, e.Stderr)
	}
	if len(r.Ciphers) != 3 || len(r.GCM) == 0 {
		t.Fatalf("got %+v", r)
	}
	return r
}

// testDoctorEngine: doctor finds the engine, reports it as hardware, and has tested it. Called
// by its name, the engine gives the right answers, or doctor reports the wrong ones.
func testDoctorEngine(ctx context.Context, t *testing.T, m *board.Machine) {
	r := runDoctor(ctx, t, m, autoConfig, "-driver", caamsim.Driver)
	if !r.Answers.Asked || !r.Answers.Right || r.Answers.Speed <= 0 {
		t.Errorf("known answers: %+v", r.Answers)
	}
	for _, a := range r.GCM[1:] { // includes drivers that are not selected
		if got := runDoctor(ctx, t, m, autoConfig, "-driver", a.Driver); !got.Answers.Right || got.Status != 0 {
			t.Errorf("%s: %+v", a.Driver, got.Answers)
		}
	}
	capture(ctx, t, m, m.Spec.Board.String()+"-"+m.Spec.Engine.String())
	if r.Status != 0 || !r.Netlink.Usable || !strings.Contains(r.Verdict, "gcm(aes) by gcm-aes-caam (hardware, asynchronous, tested)") {
		t.Errorf("got %+v", r)
	}
	if r.Sends != platform.SendsAnswered { // the selected driver is asynchronous, and so was tested
		t.Errorf("sends without room: %q", r.Sends)
	}
	for _, a := range r.GCM {
		if a.Hardware != (a.Driver == "gcm-aes-caam") {
			t.Errorf("got %+v; only the engine is hardware", a)
		}
	}
	for i, c := range r.Ciphers[:2] {
		if !c.Usable || !c.Verified || c.Quarantined {
			t.Errorf("cipher %d: %+v", i, c)
		}
	}
}

// testDoctorQuarantine: doctor reports the reason, and that the board is degraded.
func testDoctorQuarantine(ctx context.Context, t *testing.T, m *board.Machine, reason string) {
	t.Helper()
	r := runDoctor(ctx, t, m, autoConfig)
	if r.Status != 1 {
		t.Errorf("status %d, want degraded", r.Status)
	}
	for _, c := range r.Ciphers[:2] {
		if c.Usable || c.Verified || !c.Quarantined || !strings.Contains(c.Reason, reason) {
			t.Errorf("got %+v, want quarantine for the reason %q", c, reason)
		}
	}
}
