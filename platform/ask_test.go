package platform

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	if err := Ask(t.Context(), "true"); err != nil {
		t.Errorf("success: %v", err)
	}
	if err := Ask(t.Context(), "sh", "-c", "echo why >&2; exit 1"); err == nil || err.Error() != "why" || err.(*AnswerError).Status != 1 {
		t.Errorf("failure: got %v, want what it wrote", err)
	}
	if err := Ask(t.Context(), "false"); err == nil || !strings.Contains(err.Error(), "status 1") {
		t.Errorf("silent failure: got %v, want its status", err)
	}
	if err := Ask(t.Context(), "/nonexistent"); err == nil || errors.Is(err, ErrNoAnswer) {
		t.Errorf("no program: got %v", err)
	}
}

// TestAskAbandons: a program that does not answer is not waited for, although its
// end does not come: its child holds what it writes to.
func TestAskAbandons(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ask(ctx, "sleep", "1000"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", err)
	}
}
