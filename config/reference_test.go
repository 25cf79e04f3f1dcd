package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// A reference is one row of the table in docs/configuration.md.
type reference struct {
	key, values, def string
}

// references returns the rows of the table in docs/configuration.md, without backquotes.
func references(t *testing.T) []reference {
	t.Helper()
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []reference
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), " | ")
		key, ok := strings.CutPrefix(cells[0], "| ")
		if ok && key != "key" && key != "---" {
			rows = append(rows, reference{key, cells[1], cells[2]})
		}
	}
	return rows
}

// leaves returns the keys of the schema that have a value of their own, in its order.
func leaves() []string {
	all := keys("", (&reader{cfg: new(Config)}).schema())
	return slices.DeleteFunc(all, func(key string) bool {
		return slices.ContainsFunc(all, func(other string) bool {
			return strings.HasPrefix(other, key+".") || strings.HasPrefix(other, key+"[]")
		})
	})
}

// setting returns a configuration in which only key has a value.
func setting(key, value string) string {
	parts := strings.Split(key, ".")
	for i := len(parts) - 1; i >= 0; i-- {
		if name, list := strings.CutSuffix(parts[i], "[]"); list {
			value = "{" + name + ": [" + value + "]}"
		} else {
			value = "{" + name + ": " + value + "}"
		}
	}
	return value
}

// accepted returns the values that the schema accepts for key, as its problems describe them.
func accepted(t *testing.T, key string) string {
	t.Helper()
	_, err := Parse([]byte(setting(key, "{a: mapping}")), "f.yaml")
	var problems Problems
	errors.As(err, &problems)
	for _, p := range problems {
		if p.Key == strings.Replace(key, "[]", "[0]", 1) {
			return strings.TrimPrefix(p.Right, "write ")
		}
	}
	t.Fatalf("%s accepts a mapping", key)
	return ""
}

// TestReferenceMatchesSchema compares docs/configuration.md with the schema: the table has a
// row for each key, in the schema's order, and no other row. Each row describes the values as
// a Problem does.
func TestReferenceMatchesSchema(t *testing.T) {
	var got, want []string
	for _, row := range references(t) {
		got = append(got, row.key+" | "+row.values)
	}
	for _, key := range leaves() {
		want = append(want, key+" | "+accepted(t, key))
	}
	for i := range max(len(got), len(want)) {
		g, w := "no row", "no row"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("row %d of docs/configuration.md\ngot  %s\nwant %s", i+1, g, w)
		}
	}
}

// TestReferenceHasTheDefaults sets each key to the default that docs/configuration.md has for
// it. The result must be the configuration without that key.
func TestReferenceHasTheDefaults(t *testing.T) {
	for _, row := range references(t) {
		key, text := row.key, minimal
		if name, ok := strings.CutPrefix(key, "listen[]."); ok {
			text = strings.Replace(text, "}]", ", "+name+": "+row.def+"}]", 1)
		} else if section, name, ok := strings.Cut(key, "."); ok {
			text += section + ": {" + name + ": " + row.def + "}"
		} else {
			text += key + ": " + row.def
		}
		switch key {
		case "listen[].address", "root", "tls.certificate", "tls.key":
			if !strings.HasPrefix(row.def, "required") {
				t.Errorf("%s is required, and docs/configuration.md has the default %s", key, row.def)
			}
		default:
			equal(t, mustParse(t, text+"\n"), mustParse(t, minimal))
		}
	}
}

// TestExampleMatchesSchema compares uringhttpd.yaml with the schema: the example shows every
// key. Parse rejects an example with any other key.
func TestExampleMatchesSchema(t *testing.T) {
	c := mustParse(t, string(Example()))
	for _, key := range keys("", (&reader{cfg: new(Config)}).schema()) {
		_, first := c.lines[strings.Replace(key, "[]", "[0]", 1)]
		_, second := c.lines[strings.Replace(key, "[]", "[1]", 1)]
		if !first && !second {
			t.Errorf("the example does not show %s", key)
		}
	}
}
