package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
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
	db, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.mongodbPort))},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:  "sqlite",
		// A crash of this process loses nothing with synchronous(off), only a crash of the machine can.
		SQLiteURL: "file:" + dir + "/?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)",
	})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		err := db.Run(ctx)
		close(ended)
		died <- fmt.Errorf("MongoDB ended unexpectedly: %w", err)
	}()
	return db.MongoDBURI() + "cartstream", func() {
		cancel()
		<-ended
	}, nil
}
