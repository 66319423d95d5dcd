// Command baseline is the plainest handlers for what the API does, which the benchmarks measure beside it. They check
// nothing: no token, no limits, nothing about the body.
//
//   - POST /v1/cart/items: Gin without middleware, the body bound by Gin, the same script as the API's with one EVALSHA a
//     request through go-redis as it comes, and the script's answer sent on.
//   - GET /v1/cart: one HGETALL of the cart's hash, sent on as JSON.
//   - GET /v1/cart/live: what is published to the user's channel, as it comes.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"

	"cartstream/deploy/bench/replay"
)

func main() {
	addr := flag.String("addr", "", "where to listen")
	engine := flag.String("redis", "", "host:port of the API's Redis")
	script := flag.String("calls", "", "file with the recorded calls, which also tell where a user's cart is")
	flag.Parse()
	if err := run(*addr, *engine, *script); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

func run(addr, engine, script string) error {
	var adds replay.Adds
	if script != "" {
		text, err := os.ReadFile(script) //nolint:gosec // the benchmark names the file
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &adds); err != nil {
			return fmt.Errorf("%s: %w", script, err)
		}
	}
	client := redis.NewClient(&redis.Options{Addr: engine})
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.POST("/v1/cart/items", add(&adds, client))
	e.GET("/v1/cart", get(&adds, client))
	e.GET("/v1/cart/live", openChannels(context.Background(), client).live)
	server := &http.Server{Addr: addr, Handler: e, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

// add takes user and key from headers as they come.
func add(adds *replay.Adds, client *redis.Client) gin.HandlerFunc {
	return func(c *gin.Context) {
		var body struct {
			BookID   string      `json:"bookId"`
			Quantity json.Number `json:"quantity"`
		}
		if err := c.ShouldBindJSON(&body); err != nil {
			c.String(http.StatusBadRequest, err.Error())
			return
		}
		call, err := adds.Add(c.GetHeader("X-User"), body.BookID, body.Quantity.String(), c.GetHeader("Idempotency-Key"))
		if err != nil {
			c.String(http.StatusBadRequest, err.Error())
			return
		}
		values := make([]any, len(call.Args))
		for i, a := range call.Args {
			values[i] = a
		}
		answer, err := client.EvalSha(c.Request.Context(), call.SHA, call.Keys, values...).Text()
		if err != nil || len(answer) < 3 || answer[:3] != "ok " {
			c.String(http.StatusInternalServerError, "%s %v", answer, err)
			return
		}
		c.String(http.StatusOK, answer)
	}
}

// get finds the cart where the user's recorded add has it.
func get(adds *replay.Adds, client *redis.Client) gin.HandlerFunc {
	return func(c *gin.Context) {
		key := adds.Cart(c.GetHeader("X-User"))
		fields, err := client.HGetAll(c.Request.Context(), key).Result()
		if err != nil || len(fields) == 0 {
			c.String(http.StatusInternalServerError, "%s: %d fields, %v", key, len(fields), err)
			return
		}
		text, err := json.Marshal(fields)
		if err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		c.Header("Content-Length", strconv.Itoa(len(text))) // in chunks it would cost more
		c.Data(http.StatusOK, "application/json", text)
	}
}
