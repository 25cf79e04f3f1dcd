package files

import (
	"testing"
)

func TestPrefersJSONByWeight(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/html": false, "application/*": false, "application/json": true,
		"Application/JSON ; q=0.5": true, "application/json;q=0": false, "application/json;q=x": false, "application/json;q=NaN": false,
		"application/json, text/plain, */*": true, "text/html,application/xhtml+xml,*/*;q=0.8": false,
		"application/json, text/html": false, "application/json;q=0.9, text/html;q=0.8": true,
		"application/json;q=0.8, text/html;q=0.9": false, "application/json;charset=utf-8;q=1": true, "xapplication/json": false,
	} {
		if got := prefersJSON([]string{accept}); got != want {
			t.Errorf("%q: JSON %v, want %v", accept, got, want)
		}
	}
	if !prefersJSON([]string{"text/html;q=0.1", "application/json"}) {
		t.Error("two Accept fields")
	}
}
