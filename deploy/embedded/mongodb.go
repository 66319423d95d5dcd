package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// startMongoDB runs FerretDB 1 on SQLite. No transactions, no pipeline updates, no TTL index; every
// operation scans its collection, so it is for trying the product out and for tests, never for load.
func startMongoDB(cfg config, died chan<- error) (uri string, stop func(), err error) {
	dir := filepath.Join(cfg.data, "mongodb")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	front, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.mongodbPort))) //nolint:noctx // binds a local port, never blocks
	if err != nil {
		return "", nil, err
	}
	db, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"}, // behind writes
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:  "sqlite",
		// A crash of this process loses nothing with synchronous(off), only a crash of the machine can.
		SQLiteURL: "file:" + dir + "/?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)",
	})
	if err != nil {
		_ = front.Close()
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		err := db.Run(ctx)
		close(ended)
		died <- fmt.Errorf("MongoDB ended unexpectedly: %w", err)
	}()
	behind, err := url.Parse(db.MongoDBURI())
	if err != nil {
		cancel()
		_ = front.Close()
		return "", nil, err
	}
	go (&writes{behind: behind.Host, turn: make(chan struct{}, 1)}).serve(front)
	return "mongodb://" + front.Addr().String() + "/cartstream", func() {
		_ = front.Close()
		cancel()
		<-ended
	}, nil
}
