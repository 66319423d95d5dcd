package rest

import (
	"log/slog"
	"net/http"
	"time"
)

// Server returns an HTTP server that no client can hold for long: header, body and answer each have to be through in
// time. WebSockets leave it and are bounded by themselves. The caller listens, serves, and shuts it down.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
