// The workspace as Slack's own Node clients meet it. Prints one JSON line for each thing that happened.
const { WebClient, LogLevel } = require("@slack/web-api");
const { SocketModeClient } = require("@slack/socket-mode");

const { SLACK_API_URL: slackApiUrl, BOT_TOKEN, APP_TOKEN } = process.env;
const CHANNEL = "C0INCIDENTS";
const told = (what, more = {}) => console.log(JSON.stringify({ what, ...more }));

const web = new WebClient(BOT_TOKEN, { slackApiUrl, logLevel: LogLevel.ERROR });
const socket = new SocketModeClient({
  appToken: APP_TOKEN,
  logLevel: LogLevel.ERROR,
  clientOptions: { slackApiUrl },
});

const FORM = {
  type: "modal",
  callback_id: "note",
  title: { type: "plain_text", text: "Add a note" },
  submit: { type: "plain_text", text: "Save" },
  blocks: [
    {
      type: "input",
      block_id: "note",
      label: { type: "plain_text", text: "Note" },
      element: { type: "plain_text_input", action_id: "text" },
    },
  ],
};

socket.on("slash_commands", async ({ ack, body }) => {
  await ack({ text: `node heard ${body.text}` });
  told("command", { text: body.text, user: body.user_id });
});

socket.on("interactive", async ({ ack, body }) => {
  if (body.type === "view_submission") {
    const note = body.view.state.values.note.text.value;
    await ack(note === "no" ? { response_action: "errors", errors: { note: "Not that one." } } : undefined);
    told("submitted", { note });
    return;
  }
  await ack();
  await web.views.open({ trigger_id: body.trigger_id, view: FORM });
  told("clicked", { value: body.actions[0].value });
});

socket.on("app_mention", async ({ ack, event, retry_num: retry }) => {
  await ack();
  await web.chat.postMessage({ channel: event.channel, thread_ts: event.ts, text: "node heard you" });
  told("mentioned", { text: event.text, retry: retry ?? 0 });
});

async function work() {
  const posted = await web.chat.postMessage({
    channel: CHANNEL,
    text: "from node",
    metadata: { event_type: "panicroom_incident", event_payload: { id: "I-1" } },
    blocks: [
      { type: "section", text: { type: "mrkdwn", text: "*web-17* panicked" } },
      {
        type: "actions",
        elements: [{ type: "button", action_id: "note", value: "P-1", text: { type: "plain_text", text: "Note" } }],
      },
    ],
  });
  await web.chat.update({ channel: CHANNEL, ts: posted.ts, text: "from node, edited", blocks: posted.message.blocks });
  for (let n = 0; n < 5; n += 1) await web.chat.postMessage({ channel: CHANNEL, thread_ts: posted.ts, text: `reply ${n}` });
  const replies = [];
  for await (const page of web.paginate("conversations.replies", { channel: CHANNEL, ts: posted.ts, limit: 3 })) {
    replies.push(...page.messages.filter((message) => message.ts !== posted.ts).map((message) => message.text));
  }
  const history = await web.conversations.history({ channel: CHANNEL, include_all_metadata: true });
  told("posted", { ts: posted.ts, replies, metadata: history.messages[0].metadata });

  await web.filesUploadV2({
    channel_id: CHANNEL,
    thread_ts: posted.ts,
    initial_comment: "the log",
    filename: "dmesg.txt",
    file: Buffer.from("Kernel panic - not syncing\n"),
  });
  told("uploaded");

  const refusal = await web.chat.postMessage({ channel: CHANNEL, text: "x", blocks: [{ type: "popup" }] }).catch((error) => error.data);
  told("refused", { error: refusal.error, messages: refusal.response_metadata.messages });
}

async function main() {
  await socket.start();
  told("connected");
  await work();
  told("ready");
  process.stdin.resume();
  process.stdin.on("end", async () => {
    await socket.disconnect();
    process.exit(0);
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
