package main

import (
	"context"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
)

// channels passes on what is published to a user's channel to the user's socket: one connection that subscribes by
// SSUBSCRIBE, and a write for each message. It knows no versions, no gaps and no slow clients.
type channels struct {
	client *redis.Client
	sub    *redis.PubSub

	mu      sync.Mutex
	sockets map[string]*websocket.Conn
}

func openChannels(ctx context.Context, client *redis.Client) *channels {
	c := &channels{client: client, sub: client.SSubscribe(ctx), sockets: map[string]*websocket.Conn{}}
	go func() {
		for m := range c.sub.Channel(redis.WithChannelSize(10_000)) {
			c.mu.Lock()
			socket := c.sockets[m.Channel]
			c.mu.Unlock()
			if socket != nil {
				_ = socket.Write(ctx, websocket.MessageText, []byte(m.Payload)) // who is gone misses it
			}
		}
	}()
	return c
}

// live sends a first frame once the user's channel is subscribed to.
func (c *channels) live(g *gin.Context) {
	channel := "bench:" + g.GetHeader("X-User")
	socket, err := websocket.Accept(g.Writer, g.Request, nil)
	if err != nil {
		return
	}
	ctx := socket.CloseRead(context.WithoutCancel(g.Request.Context()))
	c.mu.Lock()
	c.sockets[channel] = socket
	c.mu.Unlock()
	if err := c.sub.SSubscribe(ctx, channel); err != nil {
		_ = socket.Close(websocket.StatusInternalError, "")
		return
	}
	if err := socket.Write(ctx, websocket.MessageText, []byte(http.StatusText(http.StatusOK))); err != nil {
		return
	}
	<-ctx.Done()
}
