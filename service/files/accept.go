package files

import (
	"strconv"
	"strings"
)

// prefersJSON reports whether the values of Accept name application/json with a higher
// weight than text/html. Wildcards are ignored: most clients, including browsers, send one,
// and a person should get HTML.
func prefersJSON(accept []string) bool {
	json, html := -1.0, -1.0 // not named
	for _, value := range accept {
		for item := range strings.SplitSeq(value, ",") {
			mediaType, parameters, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(mediaType)) {
			case "application/json":
				json = max(json, quality(parameters))
			case "text/html":
				html = max(html, quality(parameters))
			}
		}
	}
	return json > 0 && json > html
}

// quality returns the weight ("q") among the parameters of a media range, RFC 9110, section
// 12.4.2: 1 if it is absent, 0 if it is malformed.
func quality(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
