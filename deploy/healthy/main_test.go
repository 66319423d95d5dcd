package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealthy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	claims := map[string]struct {
		args    []string
		healthy bool
	}{
		"200 is healthy":               {[]string{server.URL + "/healthz"}, true},
		"another status is not":        {[]string{server.URL + "/readyz"}, false},
		"nobody listening is not":      {[]string{gone.URL}, false},
		"no URL is a wrong call":       {nil, false},
		"something else than a URL is": {[]string{"::"}, false},
	}
	for claim, c := range claims {
		t.Run(claim, func(t *testing.T) {
			if err := ask(c.args); (err == nil) != c.healthy {
				t.Fatalf("got %v", err)
			}
		})
	}
}
