// Command gateway is the plainest WebSocket gateway, which the benchmarks measure the API's beside: it accepts every
// socket and reads what its client sends, which is nothing. It also tells what memory it takes.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	_ "net/http/pprof" //nolint:gosec // so that the benchmark can have the garbage collected
	"os"
	"runtime"
	"time"

	"github.com/coder/websocket"
)

func main() {
	addr := flag.String("addr", "", "where to listen")
	flag.Parse()
	http.HandleFunc("/v1/cart/live", accept)
	http.HandleFunc("/metrics", metrics)
	server := &http.Server{Addr: *addr, ReadHeaderTimeout: 5 * time.Second}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func accept(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	conn.CloseRead(context.Background()) // which goes on when this returns
}

func metrics(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	_, _ = fmt.Fprintf(w, "go_memstats_heap_inuse_bytes %d\ngo_memstats_stack_inuse_bytes %d\n", m.HeapInuse, m.StackInuse)
}
