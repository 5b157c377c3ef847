// Everything that a new installation can have, in a private network.
using '../main.bicep'

param environmentName = 'full'
param location = 'westeurope'
param resourceGroupName = 'rg-mail-production'
param tags = {
  costCenter: '4711'
}
param principalId = '33333333-3333-3333-3333-333333333333'
param principalType = 'Group'
param mailboxes = {
  support: {
    PROTOCOL: 'imap'
    HOST: 'imap.example.com'
    PORT: 993
    ADDRESS: 'support@example.com'
    FOLDERS: ['INBOX', 'INBOX/Orders']
    AFTER: 'move:Archive'
    DELIVERY_HINTS: false
  }
  orders: {
    PROTOCOL: 'pop3'
    PRESET: 'gmail-pop3'
    ADDRESS: 'orders@example.com'
    AFTER: 'keep'
  }
  office: {
    PROTOCOL: 'graph'
    ADDRESS: 'office@example.com'
    SIGN_IN: 'managed-identity'
  }
}
param mailboxSecretNames = {
  support: {
    PASSWORD: 'support-password'
  }
  orders: {
    PASSWORD: 'orders-password'
  }
}
param routes = {
  sales: {
    ADDRESS: 'sales@example.com'
    ORDER: 10
    SENDERS: ['*@customer.example', 'partner@example.net']
    IMPORTANT: true
  }
  all: {
    ADDRESS: '*'
  }
}
param graphKeySecretName = 'graph-client-state'
param tuning = {
  POLL_BUDGET: 120
  GRAPH_SUBSCRIPTION_MINUTES: 20000
}
param instanceMemoryMB = 4096
param maximumInstanceCount = 1
param alwaysReadyHttp = 2
param zoneRedundant = true
param mailRedundancy = 'Standard_GZRS'
param malwareScanning = true
param consumers = [
  {
    name: 'crm'
    functionId: '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-crm/providers/Microsoft.Web/sites/func-crm/functions/on_result'
    route: 'sales'
  }
]
param privateNetwork = true
param alertEmails = ['operations@example.com', 'on-call@example.com']
param alertWebhooks = {
  pager: 'https://pager.example.com/mailroom'
}
param monthlyBudget = 100
param budgetStart = '2026-12-01'
param telemetryDailyCapGb = 1
param retentionDays = 90
