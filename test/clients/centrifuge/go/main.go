// centrifuge-go as a program: see ../program.ts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const (
	minDelay = 20 * time.Millisecond
	maxDelay = 200 * time.Millisecond
)

type options struct {
	URL      string   `json:"url"`
	Tokens   []string `json:"tokens"`
	Protobuf bool     `json:"protobuf"`
}

type command struct {
	Do        string          `json:"do"`
	Channel   string          `json:"channel"`
	Data      json.RawMessage `json:"data"`
	Tokens    []string        `json:"tokens"`
	JoinLeave bool            `json:"joinLeave"`
}

type fields map[string]any

var printing sync.Mutex

func say(event string, more fields) {
	line := fields{"event": event}
	for name, value := range more {
		line[name] = value
	}
	printing.Lock()
	defer printing.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

// tokens gives one token after another, and reports each request for one.
type tokens struct {
	mutex sync.Mutex
	left  []string
}

func (t *tokens) take() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if len(t.left) == 0 {
		return ""
	}
	token := t.left[0]
	t.left = t.left[1:]
	return token
}

func (t *tokens) next(channel string) (string, error) {
	say("token", fields{"channel": channel})
	return t.take(), nil
}

func main() {
	var asked options
	if err := json.Unmarshal([]byte(os.Args[1]), &asked); err != nil {
		panic(err)
	}
	own := &tokens{left: asked.Tokens}
	config := centrifuge.Config{
		Token:             own.take(),
		GetToken:          func(centrifuge.ConnectionTokenEvent) (string, error) { return own.next("") },
		MinReconnectDelay: minDelay,
		MaxReconnectDelay: maxDelay,
	}
	create := centrifuge.NewJsonClient
	if asked.Protobuf {
		create = centrifuge.NewProtobufClient
	}
	client := create(asked.URL, config)
	client.OnConnecting(func(e centrifuge.ConnectingEvent) { say("connecting", fields{"code": e.Code}) })
	client.OnConnected(func(centrifuge.ConnectedEvent) { say("connected", nil) })
	client.OnDisconnected(func(e centrifuge.DisconnectedEvent) { say("disconnected", fields{"code": e.Code}) })

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var order command
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			panic(err)
		}
		value, err := run(client, order)
		if err != nil {
			code := uint32(0)
			var coded *centrifuge.Error
			if errors.As(err, &coded) {
				code = coded.Code
			}
			say("error", fields{"of": order.Do, "code": code, "message": err.Error()})
		} else {
			say("result", fields{"of": order.Do, "value": value})
		}
	}
	client.Close()
}

func run(client *centrifuge.Client, order command) (any, error) {
	within, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch order.Do {
	case "connect":
		return nil, client.Connect()
	case "subscribe":
		return nil, subscribe(client, order)
	case "publish":
		_, err := client.Publish(within, order.Channel, order.Data)
		return nil, err
	case "history":
		result, err := client.History(within, order.Channel, centrifuge.WithHistoryLimit(100))
		data := []json.RawMessage{}
		for _, each := range result.Publications {
			data = append(data, each.Data)
		}
		return data, err
	case "presence":
		result, err := client.Presence(within, order.Channel)
		users := []string{}
		for _, info := range result.Clients {
			users = append(users, info.User)
		}
		return users, err
	}
	return nil, errors.New("unknown order")
}

func subscribe(client *centrifuge.Client, order command) error {
	channel := order.Channel
	config := centrifuge.SubscriptionConfig{
		Positioned:          true,
		Recoverable:         true,
		JoinLeave:           order.JoinLeave,
		MinResubscribeDelay: minDelay,
		MaxResubscribeDelay: maxDelay,
	}
	if len(order.Tokens) > 0 {
		own := &tokens{left: order.Tokens}
		config.Token = own.take()
		config.GetToken = func(centrifuge.SubscriptionTokenEvent) (string, error) { return own.next(channel) }
	}
	sub, err := client.NewSubscription(channel, config)
	if err != nil {
		return err
	}
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		say("subscribed", fields{"channel": channel, "wasRecovering": e.WasRecovering, "recovered": e.Recovered})
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		say("unsubscribed", fields{"channel": channel, "code": e.Code})
	})
	sub.OnPublication(func(e centrifuge.PublicationEvent) {
		say("publication", fields{"channel": channel, "data": json.RawMessage(e.Data)})
	})
	sub.OnJoin(func(e centrifuge.JoinEvent) { say("join", fields{"channel": channel, "user": e.User}) })
	sub.OnLeave(func(e centrifuge.LeaveEvent) { say("leave", fields{"channel": channel, "user": e.User}) })
	return sub.Subscribe()
}
