// What wakes somebody. Each rule asks the workspace for one metric (shared/observability/metric_names.py; a test compares the names)
// and says in its text what to do. A rule that is over closes by itself.

param location string
param tags object = {}

@description('The workspace that has the metrics.')
param workspaceId string

@description('Begins the names of the rules.')
param prefix string

@description('Who gets an e-mail. Empty: alerts show in the portal alone.')
param emails array = []

@description('Seconds that a mailbox may fail.')
param mailboxFailingSeconds int = 3600

@description('Seconds that a stored message may wait for its routing.')
param mailWaitingSeconds int = 900

@description('Seconds that a subscription must have left. It is renewed at half its time.')
param subscriptionLeftSeconds int

@description('Seconds that an answer to Graph may take. Graph counts a notification as failed after 3, and slows down or drops an address that is often late.')
param webhookSeconds int = 2

// Gauges are measured every five minutes, by the function sweep: a few of these are looked back at.
var window = 'PT30M'

var rules = [
  {
    name: 'mailbox-disabled'
    title: 'a mailbox is disabled'
    text: 'Its mail is not collected until somebody mends its sign-in or its settings, then runs: mailroom enable MAILBOX. mailroom status says why.'
    severity: 1
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.mailbox.disabled"
| extend mailbox = tostring(Properties.mailbox)
| summarize arg_max(TimeGenerated, Max) by mailbox
| project TimeGenerated, mailbox, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'mailbox-failing'
    title: 'a mailbox has been failing for too long'
    text: 'Its mail stays on its server and is collected when it works again. mailroom check MAILBOX says what is wrong.'
    severity: 2
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.mailbox.failing_seconds"
| extend mailbox = tostring(Properties.mailbox)
| summarize arg_max(TimeGenerated, Max) by mailbox
| project TimeGenerated, mailbox, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: mailboxFailingSeconds
  }
  {
    name: 'poison-waiting'
    title: 'something lies in a poison queue'
    text: 'The host gave it up after five tries. What lies in route-requests-poison becomes a record under failed/ by itself; what stays in another one is to be looked at.'
    severity: 2
    by: ['queue']
    query: '''
AppMetrics
| where Name == "mailroom.poison.waiting"
| extend queue = tostring(Properties.queue)
| summarize arg_max(TimeGenerated, Max) by queue
| project TimeGenerated, queue, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'message-failed'
    title: 'a message could not be routed'
    text: 'It has a record under failed/ that says why; its bytes are kept. Once that is mended: mailroom replay RECORD.'
    severity: 1
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.poisoned"
| extend mailbox = tostring(Properties.mailbox)
| summarize Value = sum(Sum), TimeGenerated = max(TimeGenerated) by mailbox
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'mail-waiting'
    title: 'stored mail waits for its routing'
    text: 'The oldest stored message is not routed yet. Faulty routes hold a mailbox\'s mail back: mailroom status says so. Otherwise look at the failures of route_message.'
    severity: 2
    by: []
    query: '''
AppMetrics
| where Name == "mailroom.outbox.oldest_seconds"
| summarize arg_max(TimeGenerated, Max)
| project TimeGenerated, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: mailWaitingSeconds
  }
  {
    name: 'subscription-ending'
    title: 'Graph will soon notify us no more'
    text: 'Renewing a subscription fails. Nothing is lost: from its end on the clock alone collects the mailbox. mailroom status says why it fails.'
    severity: 3
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.subscription.left_seconds"
| extend mailbox = tostring(Properties.mailbox)
| summarize arg_max(TimeGenerated, Min) by mailbox
| project TimeGenerated, mailbox, Value = Min
'''
    aggregation: 'Minimum'
    operator: 'LessThan'
    threshold: subscriptionLeftSeconds
  }
  {
    name: 'webhook-slow'
    title: 'answers to Graph are slow'
    text: 'Graph wants its answer within 3 seconds. See that one HTTP instance is always ready (alwaysReadyHttp), and that instances are not starved.'
    severity: 3
    by: []
    query: '''
AppMetrics
| where Name == "mailroom.webhook.seconds"
| project TimeGenerated, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: webhookSeconds
  }
  {
    // Every other rule is silent when the app is.
    name: 'app-silent'
    title: 'the app says nothing'
    text: 'No metric has come for half an hour: the app is stopped, does not start (its settings are wrong), or may not send telemetry. Its log stream says more.'
    severity: 1
    by: []
    // Until the first metric the workspace knows no such table, and a query that fails wakes nobody.
    query: '''
union isfuzzy=true (datatable(TimeGenerated: datetime, Name: string)[]), AppMetrics
| where Name == "mailroom.outbox.oldest_seconds"
'''
    aggregation: 'Count'
    operator: 'LessThan'
    threshold: 1
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: '${prefix}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'mailroom'
    enabled: true
    emailReceivers: [for (email, number) in emails: {
      name: 'person-${number}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: '${prefix}-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'Mailroom: ${rule.title}'
    description: rule.text
    severity: rule.severity
    enabled: true
    evaluationFrequency: 'PT5M'
    windowSize: window
    scopes: [
      workspaceId
    ]
    autoMitigate: true
    // A new workspace knows the table AppMetrics from the first metric on: checked, the first deployment would fail.
    skipQueryValidation: true
    criteria: {
      allOf: [
        union({
          query: rule.query
          timeAggregation: rule.aggregation
          operator: rule.operator
          threshold: rule.threshold
          dimensions: map(rule.by, column => {
            name: column
            operator: 'Include'
            values: ['*']
          })
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }, rule.aggregation == 'Count' ? {} : {
          metricMeasureColumn: 'Value'
        })
      ]
    }
    actions: {
      actionGroups: empty(emails) ? [] : [
        people.id
      ]
    }
  }
}]
