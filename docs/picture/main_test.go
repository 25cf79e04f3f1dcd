package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestDrawn: the picture that is kept is that of the figures that are kept.
func TestDrawn(t *testing.T) {
	figures, err := os.Open("pending.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer figures.Close()
	var got bytes.Buffer
	if err := draw(figures, &got); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../kernel-tls-async.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("make picture would draw another picture")
	}
}

func TestRefuses(t *testing.T) {
	for _, bad := range []string{"", "gate,ms,bytes\n", "gate,ms,bytes\nmeter,1,many\n", "gate,ms\nmeter,1\n"} {
		if err := draw(strings.NewReader(bad), &bytes.Buffer{}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
