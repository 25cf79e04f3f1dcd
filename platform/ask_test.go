package platform

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAsk(t *testing.T) {
	if said, err := Ask(t.Context(), "sh", "-c", "echo out; echo err >&2"); err != nil || said != "out\nerr\n" {
		t.Errorf("success: %q, %v", said, err)
	}
	var answer *AnswerError
	if said, err := Ask(t.Context(), "sh", "-c", "echo why >&2; exit 3"); said != "why\n" || !errors.As(err, &answer) || answer.Status != 3 {
		t.Errorf("failure: %q, %v; want what it wrote", said, err)
	}
	if _, err := Ask(t.Context(), "/nonexistent"); err == nil || errors.Is(err, ErrNoAnswer) {
		t.Errorf("no program: got %v", err)
	}
	if said, err := Ask(t.Context(), "sh", "-c", "head -c 1000000 /dev/zero"); err != nil || len(said) != maxText {
		t.Errorf("much: %d bytes, %v", len(said), err)
	}
}

// TestAskAbandons: a program that does not answer is not waited for, although its
// end does not come: its child holds what it writes to.
func TestAskAbandons(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(ctx, "sh", "-c", "sleep 5; true"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", err)
	}
}

// TestAskInPart: what a program has said before it was given up counts.
func TestAskInPart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mark := filepath.Join(t.TempDir(), "mark")
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(mark); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	said, err := Ask(ctx, "sh", "-c", "echo first; : > "+mark+"; exec sleep 1000")
	if said != "first\n" || !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %q, %v", said, err)
	}
}
