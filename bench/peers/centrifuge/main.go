// A server on Centrifugo's library, with what Centrifugo would be configured to do here: history that readers recover
// from, in memory or in Redis, its wires, and its HTTP API with one event a request.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

// Kept as long as fanwire keeps events.
const (
	historySize = 10_000
	historyTTL  = time.Hour
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "host:port")
	redis := flag.String("redis", "", "redis://host:port; without it history is in memory")
	pings := flag.Bool("pings", false, "ping readers")
	flag.Parse()

	node := must(centrifuge.New(centrifuge.Config{}))
	if *redis != "" {
		shard := must(centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: *redis}))
		shards := []*centrifuge.RedisShard{shard}
		node.SetBroker(must(centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: shards})))
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			options := centrifuge.SubscribeOptions{EnablePositioning: true, EnableRecovery: true}
			reply(centrifuge.SubscribeReply{Options: options}, nil)
		})
	})
	check(node.Run())

	pingPong := centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1}
	if *pings {
		pingPong.PingInterval = 0
	}
	http.Handle("/connection/websocket",
		centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{PingPongConfig: pingPong}))
	http.Handle("/connection/sse", centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{PingPongConfig: pingPong}))
	http.HandleFunc("/api/publish", func(response http.ResponseWriter, request *http.Request) {
		publish(node, response, request)
	})
	listener := must(net.Listen("tcp", *address))
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	check(http.Serve(listener, nil))
}

func publish(node *centrifuge.Node, response http.ResponseWriter, request *http.Request) {
	var order struct {
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(request.Body).Decode(&order); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	result, err := node.Publish(order.Channel, order.Data, centrifuge.WithHistory(historySize, historyTTL))
	if err != nil {
		http.Error(response, err.Error(), http.StatusServiceUnavailable)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(response, `{"result":{"offset":%d,"epoch":%q}}`, result.Offset, result.Epoch)
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
