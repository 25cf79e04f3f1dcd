package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"os"
	"strings"
	"testing"
)

// drawn returns the picture of pending.csv.
func drawn(t *testing.T) []byte {
	t.Helper()
	figures, err := os.Open("pending.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer figures.Close()
	var b bytes.Buffer
	if err := draw(figures, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPictureMatchesItsData: docs/kernel-tls-async.svg is the picture of pending.csv.
func TestPictureMatchesItsData(t *testing.T) {
	want, err := os.ReadFile("../kernel-tls-async.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(drawn(t), want) {
		t.Error("the picture is out of date; run make picture")
	}
}

// TestDrawRejectsIncompleteData: draw needs at least two readings for each condition.
func TestDrawRejectsIncompleteData(t *testing.T) {
	const all = "gate,ms,bytes\nnone,0,1\nnone,1,2\nPOLLOUT,0,1\nPOLLOUT,1,2\nmeter,0,1\n"
	for _, bad := range []string{
		"", "gate,ms,bytes\n", "gate,ms\nmeter,1\n",
		all, // with only one reading of the meter
		all + "meter,1,many\n",
		strings.ReplaceAll(all+"meter,1,2\n", "POLLOUT", "pollout"),
	} {
		if err := draw(strings.NewReader(bad), &bytes.Buffer{}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if err := draw(strings.NewReader(all+"meter,1,2\n"), &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
}

// TestTextsDoNotOverlap: each text is within the picture and overlaps no other. The check detects
// pictures in which this is not so.
func TestTextsDoNotOverlap(t *testing.T) {
	good := string(drawn(t))
	if err := legible(good); err != nil {
		t.Error(err)
	}
	for _, e := range [][2]string{
		{"one splice waits", "one splice waits, and waits, and waits, and waits, and waits, and waits"},
		{`text-anchor="middle">1<`, `text-anchor="middle">1.` + strings.Repeat("0", 30) + "<"},
		{"</svg>", ""},
	} {
		bad := strings.Replace(good, e[0], e[1], 1)
		if bad == good || legible(bad) == nil {
			t.Errorf("%q instead of %q: not caught", e[1], e[0])
		}
	}
}

// legible checks the texts that are not rotated. It assumes a width of 8 units per letter, as in wide
// fonts.
func legible(svg string) error {
	var picture struct {
		ViewBox string `xml:"viewBox,attr"`
		Texts   []struct {
			X      int    `xml:"x,attr"`
			Y      int    `xml:"y,attr"`
			Anchor string `xml:"text-anchor,attr"`
			Turned string `xml:"transform,attr"`
			Text   string `xml:",chardata"`
		} `xml:"text"`
	}
	if err := xml.Unmarshal([]byte(svg), &picture); err != nil {
		return err
	}
	var all image.Rectangle
	if _, err := fmt.Sscanf(picture.ViewBox, "%d %d %d %d", &all.Min.X, &all.Min.Y, &all.Max.X, &all.Max.Y); err != nil {
		return fmt.Errorf("viewBox %q: %w", picture.ViewBox, err)
	}
	var boxes []image.Rectangle
	for _, text := range picture.Texts {
		if text.Turned != "" {
			continue
		}
		width := 8 * len(text.Text)
		before := map[string]int{"start": 0, "middle": width / 2, "end": width}[text.Anchor]
		box := image.Rect(text.X-before, text.Y-11, text.X-before+width, text.Y+3)
		if !box.In(all) {
			return fmt.Errorf("%q leaves the picture", text.Text)
		}
		for _, other := range boxes {
			if box.Overlaps(other) {
				return fmt.Errorf("%q covers another text", text.Text)
			}
		}
		boxes = append(boxes, box)
	}
	return nil
}
